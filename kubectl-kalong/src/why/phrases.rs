//! The few words around the explanations, in both languages.

use crate::words::Language;

/// The words of one language.
pub(super) struct Phrases {
    pub(super) means: &'static str,
    pub(super) says: &'static str,
    pub(super) todo: &'static str,
    pub(super) waits_on: &'static str,
    pub(super) fact: &'static str,
    pub(super) since: &'static str,
    pub(super) until: &'static str,
    pub(super) no_end: &'static str,
    pub(super) because: &'static str,
    pub(super) well: &'static str,
    pub(super) absent: &'static str,
    pub(super) above: &'static str,
    pub(super) alike: &'static str,
    pub(super) also: &'static str,
    pub(super) first: &'static str,
    pub(super) nothing_blocks: &'static str,
    pub(super) rests: &'static str,
}

pub(super) fn phrases(language: Language) -> &'static Phrases {
    match language {
        Language::En => &EN,
        Language::Vi => &VI,
    }
}

const EN: Phrases = Phrases {
    means: "means",
    says: "says",
    todo: "do",
    waits_on: "waits on",
    fact: "seen",
    since: "since",
    until: "until",
    no_end: "until that ends",
    because: "because of",
    well: "is well",
    absent: "does not exist",
    above: "see above",
    alike: "and alike",
    also: "also",
    first: "Do first",
    nothing_blocks: "Nothing blocks it.",
    rests: "Nothing blocks it: it rests on purpose.",
};

const VI: Phrases = Phrases {
    means: "nghĩa là",
    says: "lời nhắn",
    todo: "cần làm",
    waits_on: "đang chờ",
    fact: "ghi nhận",
    since: "từ",
    until: "đến",
    no_end: "cho đến khi điều đó kết thúc",
    because: "vì",
    well: "bình thường",
    absent: "không tồn tại",
    above: "xem ở trên",
    alike: "và tương tự",
    also: "ngoài ra",
    first: "Việc cần làm trước",
    nothing_blocks: "Không có gì cản trở.",
    rests: "Không có gì cản trở: đối tượng nghỉ theo chủ ý.",
};
