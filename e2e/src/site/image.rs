//! Images of simulated devices: a short readable header that says how the device will behave with it, and padding.

use std::collections::BTreeSet;

use thiserror::Error;

const MAGIC: &str = "KALONG-SIMULATED-IMAGE 1";
/// The header stands within this many bytes.
const HEADER_LIMIT: usize = 1024;

/// What a device does with an image that is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behaviour {
    /// It never answers again after the start.
    Hang,
    /// It starts over and over.
    RebootLoop,
    /// It runs and reports a version that is not that of the release.
    ReportsWrongVersion,
    FailsSelfTest,
    FlashError,
    /// It runs and reads too few plates: health code `ReadRateLow`, where the model has it.
    LowReadRate,
}

const WORDS: [(Behaviour, &str); 6] = [
    (Behaviour::Hang, "hang"),
    (Behaviour::RebootLoop, "reboot-loop"),
    (Behaviour::ReportsWrongVersion, "reports-wrong-version"),
    (Behaviour::FailsSelfTest, "fails-selftest"),
    (Behaviour::FlashError, "flash-error"),
    (Behaviour::LowReadRate, "low-read-rate"),
];

/// What an image says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// Name of the model that it is made for.
    pub model: String,
    pub version: String,
    /// What is wrong with it; empty means that it is good.
    pub behaviour: BTreeSet<Behaviour>,
}

/// Why bytes are no image.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ImageError {
    #[error("this is no image of a simulated device: make one with `kalong_e2e::site::image::build`")]
    NoHeader,
    /// A line that is not understood.
    #[error("the image's header has a line that is not understood: `{0}`")]
    Line(String),
}

/// The behaviour that is written so.
///
/// # Errors
/// There is none; the text lists those that are there.
pub fn behaviour(word: &str) -> Result<Behaviour, String> {
    let known = WORDS.iter().find(|(_, w)| *w == word).map(|(b, _)| *b);
    known.ok_or_else(|| format!("use one of {}", WORDS.map(|(_, w)| w).join(", ")))
}

/// An image of exactly `size` bytes, or of its header where that is longer. The same arguments make the same bytes.
pub fn build(model: &str, version: &str, behaviour: &[Behaviour], size: usize) -> Vec<u8> {
    let words: Vec<_> = WORDS.iter().filter(|(b, _)| behaviour.contains(b)).map(|(_, w)| *w).collect();
    let header = format!("{MAGIC}\nmodel: {model}\nversion: {version}\nbehaviour: {}\n\n", words.join(","));
    let mut state = seed(&header);
    let mut image = header.into_bytes();
    // Bytes that do not compress, so that a transport that compresses shows nothing better than a real image would.
    while image.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        image.extend_from_slice(&state.to_le_bytes());
        if image.len() > size {
            image.truncate(size);
        }
    }
    image
}

/// Reads the header of an image.
///
/// # Errors
/// The bytes do not begin with one.
pub fn parse(image: &[u8]) -> Result<ImageHeader, ImageError> {
    let start = image.get(..image.len().min(HEADER_LIMIT)).unwrap_or_default();
    let end = start.windows(2).position(|w| w == b"\n\n").ok_or(ImageError::NoHeader)?;
    let text = start.get(..end).and_then(|b| std::str::from_utf8(b).ok()).ok_or(ImageError::NoHeader)?;
    let mut lines = text.lines();
    if lines.next() != Some(MAGIC) {
        return Err(ImageError::NoHeader);
    }
    let mut header = ImageHeader { model: String::new(), version: String::new(), behaviour: BTreeSet::new() };
    for line in lines {
        let bad = || ImageError::Line(line.chars().take(80).collect());
        match line.split_once(':').map(|(key, value)| (key, value.trim())).ok_or_else(bad)? {
            ("model", value) => header.model = value.to_owned(),
            ("version", value) => header.version = value.to_owned(),
            ("behaviour", value) => {
                for word in value.split(',').filter(|w| !w.is_empty()) {
                    header.behaviour.insert(self::behaviour(word).map_err(|_| bad())?);
                }
            }
            _ => return Err(bad()),
        }
    }
    Ok(header)
}

/// FNV-1a: the padding differs from image to image and stays the same from run to run.
pub(super) fn seed(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_comes_back_and_the_size_is_exact() {
        let image = build("dome-camera", "1.5.0", &[Behaviour::Hang, Behaviour::FailsSelfTest], 300 * 1024);
        assert_eq!(image.len(), 300 * 1024);
        let header = parse(&image).unwrap();
        assert_eq!((header.model.as_str(), header.version.as_str()), ("dome-camera", "1.5.0"));
        assert_eq!(header.behaviour, BTreeSet::from([Behaviour::Hang, Behaviour::FailsSelfTest]));
    }

    #[test]
    fn same_arguments_make_the_same_bytes_and_others_do_not() {
        assert_eq!(build("a", "1", &[], 4096), build("a", "1", &[], 4096));
        assert_ne!(build("a", "1", &[], 4096), build("a", "2", &[], 4096));
        assert_ne!(build("a", "1", &[], 4096), build("a", "1", &[Behaviour::Hang], 4096));
    }

    #[test]
    fn other_bytes_are_no_image() {
        assert_eq!(parse(b"\x7fELF and so on"), Err(ImageError::NoHeader));
        assert_eq!(parse(b""), Err(ImageError::NoHeader));
        let bent = String::from_utf8_lossy(&build("a", "1", &[], 0)).replace("behaviour: ", "behaviour: sings");
        assert!(matches!(parse(bent.as_bytes()), Err(ImageError::Line(_))));
    }
}
