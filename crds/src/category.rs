//! The word of an error: metric label, reason of an Event and log field at once.

/// An error whose enum derives [`strum::IntoStaticStr`].
///
/// Words are the variants in kebab case, so `#[strum(serialize_all = "kebab-case")]` stands on the enum; `#[strum(to_string =
/// "...")]` on a variant gives it another word, and `#[strum(transparent)]` the word of the error inside.
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
