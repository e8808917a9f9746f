//! The verbs in the first help, by what people want: clap lists subcommands in one heap.

use clap::Command;

/// What people want, and the verbs for it.
const GROUPS: &[(&str, &[&str])] = &[
    ("Look", &["status", "why", "doctor"]),
    ("Act at a gate", &["drain", "enrol"]),
    ("Firmware", &["release"]),
    ("This plugin", &["completion", "help"]),
];

/// The same command with its verbs in groups.
pub(crate) fn grouped(mut command: Command) -> Command {
    // Makes clap add its own `help`.
    command.build();
    let mut text = String::new();
    for (group, verbs) in GROUPS {
        text.push_str(&format!("\n{group}:\n"));
        for verb in *verbs {
            let about = command.find_subcommand(verb).and_then(|c| c.get_about()).map(ToString::to_string);
            text.push_str(&format!("  {verb:<12}{}\n", about.unwrap_or_default()));
        }
    }
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{text}\nOptions:\n{{options}}{{after-help}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_in_one_group() {
        let command = crate::command();
        let mut verbs: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, verbs)| verbs.iter().copied()).collect();
        verbs.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(verbs, grouped);
    }

    #[test]
    fn arguments_of_all_verbs_fit_together() {
        crate::command().debug_assert();
    }
}
