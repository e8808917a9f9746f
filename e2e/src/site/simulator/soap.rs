//! SOAP 1.2 as far as a camera needs it: which operation, with which parameters, by whom; and the envelopes of answers.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

#[derive(Debug, Default)]
pub(super) struct Call {
    /// Local name of the first element of the body.
    pub operation: String,
    /// Texts by the local names of their elements, from the outermost in, header and body alike.
    fields: Vec<(String, String)>,
}

/// More of a document than any request of ours needs is not read.
const DEEPEST: usize = 16;

impl Call {
    /// Reads an envelope; none if it is no XML or has no body.
    pub fn parse(envelope: &str) -> Option<Self> {
        let mut reader = Reader::from_str(envelope);
        let mut text = String::new();
        let mut path: Vec<String> = Vec::new();
        let mut call = Self::default();
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    text.clear();
                    path.push(start.local_name().as_ref().to_owned());
                    if path.len() > DEEPEST {
                        return None;
                    }
                    call.entered(&path);
                }
                Event::Empty(start) => {
                    path.push(start.local_name().as_ref().to_owned());
                    call.entered(&path);
                    path.pop();
                }
                Event::Text(part) => text.push_str(&part),
                Event::CData(part) => text.push_str(&part),
                Event::GeneralRef(entity) => text.push_str(&resolve(&entity)?),
                Event::End(_) => {
                    let whole = std::mem::take(&mut text);
                    if !whole.trim().is_empty() {
                        call.fields.push((path.join("/"), whole.trim().to_owned()));
                    }
                    path.pop();
                }
                Event::DocType(_) => return None,
                Event::Eof => break,
                _ => {}
            }
        }
        (!call.operation.is_empty()).then_some(call)
    }

    fn entered(&mut self, path: &[String]) {
        if let [_, body, operation] = path
            && body == "Body"
            && self.operation.is_empty()
        {
            self.operation.clone_from(operation);
        }
    }

    /// The text of the first element whose path ends so.
    pub fn field(&self, end: &str) -> Option<&str> {
        self.fields.iter().find(|(path, _)| path.ends_with(end)).map(|(_, text)| text.as_str())
    }
}

/// A character that had to be written in another way.
fn resolve(entity: &BytesRef<'_>) -> Option<String> {
    if let Some(character) = entity.resolve_char_ref().ok()? {
        return Some(character.to_string());
    }
    quick_xml::escape::resolve_predefined_entity(entity).map(str::to_owned)
}

const OPEN: &str = r#"<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:tds="http://www.onvif.org/ver10/device/wsdl" xmlns:tt="http://www.onvif.org/ver10/schema" xmlns:ter="http://www.onvif.org/ver10/error"><s:Body>"#;
const CLOSE: &str = "</s:Body></s:Envelope>";

pub(super) fn response(operation: &str, inner: &str) -> String {
    format!("{OPEN}<tds:{operation}Response>{inner}</tds:{operation}Response>{CLOSE}")
}

/// A fault of the sender with this subcode.
pub(super) fn fault(subcode: &str, reason: &str) -> String {
    let reason = quick_xml::escape::escape(reason);
    format!(
        "{OPEN}<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>{subcode}</s:Value></s:Subcode></s:Code>\
         <s:Reason><s:Text xml:lang=\"en\">{reason}</s:Text></s:Reason></s:Fault>{CLOSE}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_and_parameters_are_found_whatever_the_prefixes() {
        let text = r#"<e:Envelope xmlns:e="x"><e:Header><w:Security><w:UsernameToken><w:Username>a &amp; b</w:Username></w:UsernameToken></w:Security></e:Header>
            <e:Body><SetHostname xmlns="y"><Name>gate</Name></SetHostname></e:Body></e:Envelope>"#;
        let call = Call::parse(text).unwrap();
        assert_eq!(call.operation, "SetHostname");
        assert_eq!(call.field("SetHostname/Name"), Some("gate"));
        assert_eq!(call.field("UsernameToken/Username"), Some("a & b"));
        assert_eq!(Call::parse("<e:Envelope><e:Body><x:GetNTP/></e:Body></e:Envelope>").unwrap().operation, "GetNTP");
    }

    #[test]
    fn what_is_no_request_is_not_read() {
        assert!(Call::parse("not xml at all").is_none());
        assert!(Call::parse("<a><b/></a>").is_none());
        assert!(Call::parse(r#"<!DOCTYPE x [<!ENTITY y "z">]><a><Body><c/></Body></a>"#).is_none());
    }
}
