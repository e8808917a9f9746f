//! The word of an error: metric label, reason of an Event and log field at once.

/// An error that turns into its word, which [`strum::IntoStaticStr`] derives.
///
/// Words are the variants in kebab case, so `#[strum(serialize_all = "kebab-case")]` stands on the enum; `#[strum(to_string =
/// "...")]` on a variant gives it another word, and `#[strum(transparent)]` the word of the error inside. An error whose words no
/// derive can say implements `From<&Self>` for `&'static str` by hand.
pub trait Category {
    /// The word of this variant.
    fn category(&self) -> &'static str;
}

impl<E> Category for E
where
    for<'e> &'e E: Into<&'static str>,
{
    fn category(&self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoStaticStr;

    use super::Category;

    #[derive(IntoStaticStr)]
    #[strum(serialize_all = "kebab-case", prefix = "inner-")]
    enum Inner {
        TooLarge(#[expect(dead_code, reason = "a payload must not matter")] u8),
    }

    #[derive(IntoStaticStr)]
    #[strum(serialize_all = "kebab-case")]
    enum Outer {
        #[strum(transparent)]
        Inner(Inner),
        #[strum(to_string = "refused")]
        Never,
        NotFound,
    }

    #[test]
    fn words_are_variants_or_their_own_or_those_of_the_error_inside() {
        assert_eq!(Outer::Inner(Inner::TooLarge(1)).category(), "inner-too-large");
        assert_eq!(Outer::Never.category(), "refused");
        assert_eq!(Outer::NotFound.category(), "not-found");
    }
}
