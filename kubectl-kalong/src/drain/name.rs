//! The name of a claim by hand.

use kalong_crds::Reference;

/// For people who read a list; programs read the label `kalong.dev/purpose`.
const BEGINNING: &str = "by-hand-";
/// So many characters of the target, that with the five random ones of the API server the name stays a DNS label of 63.
const TARGET: usize = 48;

/// What the API server makes a unique name of.
pub(super) fn generated(target: &Reference) -> String {
    let short: String = target.name.chars().take(TARGET).collect();
    format!("{BEGINNING}{}-", short.trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use kalong_crds::Kind;

    use super::*;

    #[test]
    fn a_name_has_room_for_the_servers_five_characters() {
        let long = Reference::new(Kind::Lane, "a-".repeat(31) + "b");
        let name = generated(&long);
        assert!(name.len() + 5 <= 63, "{name}");
        assert!(name.ends_with("a-"), "{name}");
        assert_eq!(generated(&Reference::new(Kind::Lane, "bl2-out-01")), "by-hand-bl2-out-01-");
    }
}
