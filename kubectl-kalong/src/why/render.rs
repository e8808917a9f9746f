//! The chain as text for people, and as a document for programs.

use jiff::Timestamp;
use kalong_crds::Reference;
use kalong_crds::blocked::{BlockCode, BlockedBy};
use kalong_crds::condition::Reason;
use serde::Serialize;

use super::chain::{About, Fact, Shown, Step};
use super::phrases::{Phrases, about, phrases};
use crate::health::{Finding, State};
use crate::moment::{ago, stamp};
use crate::screen::{Line, Paint, Screen, sign};
use crate::words::{self, Language};

/// Names of alike objects in one line.
const NAMES: usize = 8;

pub(super) fn text(chain: &Step<'_>, language: Language, screen: &Screen, now: Timestamp) -> Vec<Line> {
    let mut page = Page { language, phrases: phrases(language), screen, now, lines: Vec::new() };
    page.step(chain, "", "");
    page.closing(chain);
    page.lines
}

struct Page<'s> {
    language: Language,
    phrases: &'static Phrases,
    screen: &'s Screen,
    now: Timestamp,
    lines: Vec<Line>,
}

impl Page<'_> {
    fn step(&mut self, step: &Step<'_>, lead: &str, indent: &str) {
        self.head(step, lead);
        let body = format!("{indent}    ");
        if step.shown == Shown::Here {
            self.findings(step, &body);
            let said = step.health.as_ref().and_then(|s| s.first());
            for wait in step.waits {
                // What an object waits for of itself is what the reason says.
                if wait.subject != step.object.to_string() || wait.until.is_some() {
                    self.wait(wait, said, &body);
                }
            }
            for fact in &step.facts {
                self.labelled(&body, about(self.language, fact.about), &fact.text);
            }
        }
        if !step.alike.is_empty() {
            self.labelled(&body, self.phrases.alike, &names(&step.alike));
        }
        for cause in &step.causes {
            let lead = format!("{indent}└─ {} ", self.phrases.because);
            self.step(cause, &lead, &format!("{indent}   "));
        }
    }

    fn head(&mut self, step: &Step<'_>, lead: &str) {
        let line = Line::default().with(Paint::Faint, lead);
        let line = match (&step.health, step.shown) {
            (None, _) => line
                .with(Paint::State(State::Stuck), format!("{} ", sign(State::Stuck)))
                .with(Paint::Strong, step.object.to_string())
                .and(format!(" {}", self.phrases.absent)),
            (Some(health), shown) => {
                // A device may be well in itself and have an open interlock.
                let state = match health.state {
                    State::Well if !step.is_well() => State::Warned,
                    state => state,
                };
                let line = line
                    .with(Paint::State(state), format!("{} ", sign(state)))
                    .with(Paint::Strong, step.object.to_string());
                match (shown, health.first()) {
                    (Shown::Above, _) => line.with(Paint::Faint, format!(" ({})", self.phrases.above)),
                    (Shown::Here, Some(finding)) => self.headline(line.and("  "), finding),
                    (Shown::Here, None) if step.facts.is_empty() => line.and(format!(" {}", self.phrases.well)),
                    (Shown::Here, None) => line,
                }
            }
        };
        self.lines.push(line);
    }

    fn headline(&self, line: Line, finding: &Finding<'_>) -> Line {
        let line = line
            .and(format!("{}={} ", finding.condition, finding.status))
            .with(Paint::State(finding.state), finding.reason);
        match finding.since {
            Some(since) => line.and(format!("  {} {} ({})", self.phrases.since, stamp(since), ago(since, self.now))),
            None => line,
        }
    }

    fn findings(&mut self, step: &Step<'_>, body: &str) {
        let Some(health) = &step.health else {
            if let Some(entry) = words::reason(self.language, Reason::MissingReference) {
                self.labelled(body, self.phrases.todo, entry.todo);
            }
            return;
        };
        let Some((first, others)) = health.findings.split_first() else { return };
        let entry = first.word().and_then(|word| words::reason(self.language, word));
        if let Some(entry) = entry {
            self.labelled(body, self.phrases.means, entry.means);
        }
        if !first.message.is_empty() {
            self.labelled(body, self.phrases.says, first.message);
        }
        if let Some(entry) = entry {
            self.labelled(body, self.phrases.todo, entry.todo);
        }
        let news =
            |o: &&Finding<'_>| o.state >= State::Working && o.message != first.message && o.reason != first.reason;
        for other in others.iter().filter(news) {
            let mut said = format!("{}={} {}", other.condition, other.status, other.reason);
            if !other.message.is_empty() {
                said.push_str(&format!(": {}", other.message));
            }
            self.labelled(body, self.phrases.also, &said);
        }
    }

    /// `said` was said of the object already; the same is not said twice.
    fn wait(&mut self, wait: &BlockedBy, said: Option<&Finding<'_>>, body: &str) {
        let p = self.phrases;
        let since = wait.since.parse::<Timestamp>().ok();
        let age = since.map_or(String::new(), |since| format!(" ({})", ago(since, self.now)));
        let until = wait.until.as_ref().map_or(p.no_end.to_owned(), |until| format!("{} {until}", p.until));
        let head = format!("{} [{:?}]  {} {}{age}, {until}", wait.subject, wait.code, p.since, wait.since);
        self.labelled(body, p.waits_on, &head);
        let deeper = format!("{body}  ");
        let same_word = said.is_some_and(|f| f.reason == format!("{:?}", wait.code));
        let entry = words::code(self.language, wait.code).filter(|_| !same_word);
        if let Some(entry) = entry {
            self.labelled(&deeper, p.means, entry.means);
        }
        if !wait.message.is_empty() && said.is_none_or(|f| f.message != wait.message) {
            self.labelled(&deeper, p.says, &wait.message);
        }
        if let Some(entry) = entry {
            self.labelled(&deeper, p.todo, entry.todo);
        }
    }

    /// What to do at the roots, which is where it helps.
    fn closing(&mut self, chain: &Step<'_>) {
        self.lines.push(Line::default());
        let worst = chain.health.as_ref().map_or(State::Stuck, |s| s.state);
        match worst {
            State::Well => return self.lines.push(Line::of(self.phrases.nothing_blocks)),
            State::Resting
                if chain.causes.iter().all(|c| c.health.as_ref().is_some_and(|s| s.state <= State::Resting)) =>
            {
                return self.lines.push(Line::of(self.phrases.rests));
            }
            _ => {}
        }
        self.lines.push(Line::default().with(Paint::Strong, format!("{}:", self.phrases.first)));
        for (i, root) in chain.roots().into_iter().enumerate() {
            let lead = format!("{}. ", i + 1);
            let rest = " ".repeat(lead.chars().count());
            let text = format!("{}: {}", root.object, todo(root, self.language));
            self.lines.extend(self.screen.wrapped(&lead, &rest, &text));
        }
    }

    fn labelled(&mut self, indent: &str, label: &str, text: &str) {
        let first = format!("{indent}{label}: ");
        let rest = " ".repeat(first.chars().count());
        self.lines.extend(self.screen.wrapped(&first, &rest, text));
    }
}

/// What somebody does about this step: by what it waits for where it names that, else by its reason.
fn todo(step: &Step<'_>, language: Language) -> &'static str {
    let Some(health) = &step.health else {
        return words::reason(language, Reason::MissingReference).map_or("", |e| e.todo);
    };
    // A device with an open interlock may be well in itself.
    if let Some(guard) = step.facts.iter().find(|f| f.about == About::Guard) {
        let word = if guard.text.starts_with("Seal") { Reason::SealBroken } else { Reason::InterlockOpen };
        return words::reason(language, word).map_or("", |e| e.todo);
    }
    let by_reason = health.first().and_then(Finding::word).and_then(|word| words::reason(language, word));
    let by_wait = step.waits.first().and_then(|wait| words::code(language, wait.code));
    let entry = if health.state <= State::Working { by_wait.or(by_reason) } else { by_reason.or(by_wait) };
    entry.map_or_else(|| words::nothing(language), |entry| entry.todo)
}

fn names(objects: &[Reference]) -> String {
    let shown: Vec<String> = objects.iter().take(NAMES).map(Reference::to_string).collect();
    let more = objects.len().saturating_sub(NAMES);
    if more == 0 { shown.join(", ") } else { format!("{}, +{more}", shown.join(", ")) }
}

/// The whole answer for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explanation<'a> {
    namespace: &'a str,
    object: &'a Reference,
    language: &'static str,
    blocked: bool,
    chain: StepDocument<'a>,
    roots: Vec<RootDocument<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RootDocument<'a> {
    object: &'a Reference,
    todo: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StepDocument<'a> {
    object: &'a Reference,
    /// Absent when the object does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<FindingDocument<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waits: Vec<WaitDocument<'a>>,
    #[serde(skip_serializing_if = "<[Fact]>::is_empty")]
    facts: &'a [Fact],
    #[serde(skip_serializing_if = "<[Reference]>::is_empty")]
    alike: &'a [Reference],
    /// Its own causes stand where it appears first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    shown_above: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<StepDocument<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FindingDocument<'a> {
    condition: &'a str,
    status: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    means: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WaitDocument<'a> {
    code: BlockCode,
    subject: &'a str,
    since: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<&'a str>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    means: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<&'static str>,
}

/// The chain as a document.
pub(super) fn document<'a>(namespace: &'a str, chain: &'a Step<'a>, language: Language) -> Explanation<'a> {
    let roots =
        chain.roots().into_iter().map(|r| RootDocument { object: &r.object, todo: todo(r, language) }).collect();
    Explanation {
        namespace,
        object: &chain.object,
        language: match language {
            Language::En => "en",
            Language::Vi => "vi",
        },
        blocked: chain.health.as_ref().is_none_or(|s| s.state > State::Resting),
        chain: step_document(chain, language),
        roots,
    }
}

fn step_document<'a>(step: &'a Step<'a>, language: Language) -> StepDocument<'a> {
    let findings = step.health.as_ref().map(|s| s.findings.as_slice()).unwrap_or_default();
    StepDocument {
        object: &step.object,
        state: step.health.as_ref().map(|s| s.state),
        findings: findings.iter().map(|f| finding_document(f, language)).collect(),
        waits: step.waits.iter().map(|w| wait_document(w, language)).collect(),
        facts: &step.facts,
        alike: &step.alike,
        shown_above: step.shown == Shown::Above,
        causes: step.causes.iter().map(|c| step_document(c, language)).collect(),
    }
}

fn finding_document<'a>(finding: &Finding<'a>, language: Language) -> FindingDocument<'a> {
    let entry = finding.word().and_then(|word| words::reason(language, word));
    FindingDocument {
        condition: finding.condition,
        status: finding.status,
        reason: finding.reason,
        message: finding.message,
        since: finding.since.map(stamp),
        means: entry.map(|e| e.means),
        todo: entry.map(|e| e.todo),
    }
}

fn wait_document(wait: &BlockedBy, language: Language) -> WaitDocument<'_> {
    let entry = words::code(language, wait.code);
    WaitDocument {
        code: wait.code,
        subject: &wait.subject,
        since: &wait.since,
        until: wait.until.as_deref(),
        message: &wait.message,
        means: entry.map(|e| e.means),
        todo: entry.map(|e| e.todo),
    }
}
