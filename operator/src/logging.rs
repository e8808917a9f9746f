//! The format of the log: fields first, then the sentence.

use std::fmt;
use std::io::IsTerminal;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::settings::{LogFormat, LogSettings};

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The levels cannot be read.
    #[error("--log `{0}` cannot be read: write a level such as `info`, or `info,kalong_operator=debug`")]
    Levels(String),
    /// A global subscriber was installed before.
    #[error("the log is already set up")]
    Twice,
}

/// Installs the global subscriber, which writes to standard error.
pub fn start(settings: &LogSettings) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(&settings.levels).map_err(|_| LoggingError::Levels(settings.levels.clone()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).event_format(FieldsFirst).try_init(),
    }
    .map_err(|_| LoggingError::Twice)
}

/// `time LEVEL target field=value … sentence`.
struct FieldsFirst;

impl<S, N> FormatEvent<S, N> for FieldsFirst
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        let meta = event.metadata();
        write!(writer, " {:5} {}", meta.level(), meta.target())?;
        if let Some(span) = ctx.lookup_current()
            && let Some(fields) = span.extensions().get::<tracing_subscriber::fmt::FormattedFields<N>>()
            && !fields.is_empty()
        {
            write!(writer, " {fields}")?;
        }
        let mut line = Line::default();
        event.record(&mut line);
        writeln!(writer, "{} {}", line.fields, line.sentence)
    }
}

#[derive(Default)]
struct Line {
    fields: String,
    sentence: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        if field.name() == "message" {
            self.sentence = escaped(&format!("{value:?}"));
        } else {
            let _ = write!(self.fields, " {}={}", field.name(), escaped(&format!("{value:?}")));
        }
    }
}

/// Text of a peer must not forge a line of the log.
fn escaped(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_peer_cannot_begin_a_new_line() {
        assert_eq!(super::escaped("a\nb\x1b[1m"), "a b [1m");
    }
}
