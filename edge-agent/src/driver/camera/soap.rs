//! SOAP 1.2 as far as a camera's device service needs it: an envelope out, texts by path back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use quick_xml::Reader;
use quick_xml::escape::escape;
use quick_xml::events::Event;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

use crate::driver::{DeviceCredential, DriverError};

/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 32;
/// Namespace of the device service.
const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";
/// Namespaces of OASIS Web Services Security 1.0.
const WSSE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const WSU: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
const PASSWORD_DIGEST: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest";
const BASE64_BINARY: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary";

/// The content type of a call.
pub(super) fn content_type(operation: &str) -> String {
    format!("application/soap+xml; charset=utf-8; action=\"{DEVICE}/{operation}\"")
}

/// The envelope of a call. `body` is what stands inside the operation's element, its texts escaped already.
pub(super) fn envelope(operation: &str, body: &str, security: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:tds=\"{DEVICE}\" \
         xmlns:tt=\"http://www.onvif.org/ver10/schema\"><s:Header>{security}</s:Header>\
         <s:Body><tds:{operation}>{body}</tds:{operation}></s:Body></s:Envelope>"
    )
}

/// The WS-Security header: SHA-1 because the profile says so; it protects a password on a lane's own network, nothing else.
pub(super) fn username_token(credential: &DeviceCredential, created: Timestamp) -> Result<String, DriverError> {
    let mut nonce = [0_u8; 16];
    SystemRandom::new()
        .fill(&mut nonce)
        .map_err(|_| DriverError::Invalid("no random numbers: check /dev/urandom of the box".to_owned()))?;
    let created = created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let digest = password_digest(&nonce, &created, &credential.password);
    Ok(format!(
        "<wsse:Security s:mustUnderstand=\"true\" xmlns:wsse=\"{WSSE}\" xmlns:wsu=\"{WSU}\"><wsse:UsernameToken>\
         <wsse:Username>{}</wsse:Username><wsse:Password Type=\"{PASSWORD_DIGEST}\">{digest}</wsse:Password>\
         <wsse:Nonce EncodingType=\"{BASE64_BINARY}\">{}</wsse:Nonce><wsu:Created>{created}</wsu:Created>\
         </wsse:UsernameToken></wsse:Security>",
        escape(&credential.username),
        BASE64.encode(nonce)
    ))
}

/// Base64(SHA-1(nonce + created + password)), of the WSS UsernameToken profile.
fn password_digest(nonce: &[u8], created: &str, password: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(nonce);
    context.update(created.as_bytes());
    context.update(password.as_bytes());
    BASE64.encode(context.finish())
}

/// The texts of an answer, by the local names on the way to them.
#[derive(Debug)]
pub(super) struct Texts(Vec<(String, String)>);

impl Texts {
    /// Reads an answer. Prefixes are the device's own affair and are left out.
    pub(super) fn parse(xml: &[u8]) -> Result<Self, DriverError> {
        let bad = |why: String| DriverError::Protocol(format!("the answer is no XML that ONVIF allows: {why}"));
        let xml = std::str::from_utf8(xml).map_err(|error| bad(error.to_string()))?;
        let mut reader = Reader::from_str(xml);
        let mut path: Vec<String> = Vec::new();
        let mut texts: Vec<(String, String)> = Vec::new();
        loop {
            let event = reader.read_event().map_err(|error| bad(error.to_string()))?;
            let text = match event {
                Event::Start(start) => {
                    if path.len() >= MAX_DEPTH {
                        return Err(bad("it is nested too deep".to_owned()));
                    }
                    path.push(start.local_name().as_ref().to_owned());
                    texts.push((path.join("/"), String::new()));
                    continue;
                }
                Event::Empty(empty) => {
                    let name = empty.local_name().as_ref().to_owned();
                    texts.push((format!("{}/{name}", path.join("/")), String::new()));
                    continue;
                }
                Event::End(_) => {
                    path.pop();
                    continue;
                }
                Event::Text(text) => text.xml10_content().into_owned(),
                Event::CData(data) => data.xml10_content().into_owned(),
                Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                    Ok(Some(character)) => character.to_string(),
                    _ => predefined(&reference.xml10_content())
                        .ok_or_else(|| bad("an entity is not known".to_owned()))?,
                },
                // A document type is the door to entity tricks, and SOAP forbids it.
                Event::DocType(_) => return Err(bad("SOAP allows no document type".to_owned())),
                Event::Eof => break,
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => continue,
            };
            let here = path.join("/");
            if let Some((_, held)) = texts.iter_mut().rev().find(|(at, _)| *at == here) {
                held.push_str(text.trim_matches(['\r', '\n', '\t']));
            }
        }
        Ok(Self(texts))
    }

    /// The first text whose path ends like this.
    pub(super) fn at(&self, end: &str) -> Option<&str> {
        let matches = |path: &str| path == end || path.strip_suffix(end).is_some_and(|rest| rest.ends_with('/'));
        self.0.iter().find(|(path, _)| matches(path)).map(|(_, text)| text.trim())
    }

    /// A whole number at such a path.
    pub(super) fn number<T: std::str::FromStr>(&self, end: &str) -> Option<T> {
        self.at(end)?.parse().ok()
    }

    /// The subcode and reason of a fault, if it is one.
    pub(super) fn fault(&self) -> Option<(String, String)> {
        self.at("Body/Fault")?;
        let subcode = self.at("Fault/Code/Subcode/Value").unwrap_or_default();
        let inner = self.at("Fault/Code/Subcode/Subcode/Value").unwrap_or_default();
        let reason = self.at("Fault/Reason/Text").unwrap_or("no reason was given");
        Some((format!("{subcode} {inner}"), reason.chars().filter(|c| !c.is_control()).take(256).collect()))
    }
}

fn predefined(name: &str) -> Option<String> {
    let character = match name {
        "lt" => "<",
        "gt" => ">",
        "amp" => "&",
        "apos" => "'",
        "quot" => "\"",
        _ => return None,
    };
    Some(character.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_digest_is_that_of_the_profile() {
        // The worked example of the ONVIF programmer's guide, section 6.1.1.3.
        let nonce = BASE64.decode("LKqI6G/AikKCQrN0zqZFlg==").unwrap();
        let digest = password_digest(&nonce, "2010-09-16T07:50:45Z", "userpassword");
        assert_eq!(digest, "tuOSpGlFlIXsozq4HFNeeGeFLEI=");
    }

    #[test]
    fn texts_are_found_whatever_the_prefixes() {
        let xml = br#"<?xml version="1.0"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="http://www.w3.org/2003/05/soap-envelope">
            <SOAP-ENV:Body><x:GetDeviceInformationResponse xmlns:x="http://www.onvif.org/ver10/device/wsdl">
            <x:Manufacturer/><x:SerialNumber>A&amp;B&#45;7</x:SerialNumber></x:GetDeviceInformationResponse></SOAP-ENV:Body></SOAP-ENV:Envelope>"#;
        let texts = Texts::parse(xml).unwrap();
        assert_eq!(texts.at("GetDeviceInformationResponse/SerialNumber"), Some("A&B-7"));
        assert_eq!(texts.at("Manufacturer"), Some(""));
        assert_eq!(texts.at("Number"), None);
        assert_eq!(texts.fault(), None);
    }

    #[test]
    fn document_types_and_deep_nesting_are_refused() {
        assert!(Texts::parse(b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>").is_err());
        assert!(Texts::parse("<a>".repeat(40).as_bytes()).is_err());
        assert!(Texts::parse(b"<a>&unknown;</a>").is_err());
    }

    #[test]
    fn a_name_cannot_break_out_of_its_element() {
        let credential = DeviceCredential { username: "a</wsse:Username><x>".into(), password: "p".into() };
        let header = username_token(&credential, Timestamp::UNIX_EPOCH).unwrap();
        assert!(header.contains("a&lt;/wsse:Username&gt;&lt;x&gt;"));
    }
}
