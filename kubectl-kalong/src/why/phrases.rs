//! The few words around the explanations, in both languages.

use super::chain::About;
use crate::words::Language;

/// The words of one language.
pub(super) struct Phrases {
    pub(super) means: &'static str,
    pub(super) says: &'static str,
    pub(super) todo: &'static str,
    pub(super) waits_on: &'static str,
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

/// What a fact is about.
pub(super) fn about(language: Language, about: About) -> &'static str {
    let (en, vi) = match about {
        About::Gate => ("gate", "điều kiện"),
        About::Certificate => ("certificate until", "chứng thư số đến"),
        About::Health => ("health", "tình trạng"),
        About::Guard => ("not safe", "chưa an toàn"),
        About::Attempt => ("attempt", "lần cập nhật"),
        About::Floor => ("open / floor (lanes; passages an hour)", "đang mở / mức sàn (làn; lượt mỗi giờ)"),
        About::Requester => ("asked for by", "người yêu cầu"),
        About::Left => ("not empty yet", "chưa trống"),
        About::EmptyBy => ("empty by", "phải trống trước"),
        About::Deadline => ("ends by itself at", "tự kết thúc lúc"),
    };
    match language {
        Language::En => en,
        Language::Vi => vi,
    }
}
