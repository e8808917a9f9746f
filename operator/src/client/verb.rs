//! The verb of a request to the API server. Pure.

use http::Method;

/// The verb as RBAC names it.
pub(super) fn verb(method: &Method, uri: &http::Uri) -> &'static str {
    if *method == Method::GET && watches(uri.query().unwrap_or_default()) {
        return "watch";
    }
    match *method {
        Method::GET if names_an_object(uri.path()) => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if names_an_object(uri.path()) => "delete",
        Method::DELETE => "deletecollection",
        _ => "other",
    }
}

fn watches(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

/// `/api/v1[/namespaces/N]/KIND[/NAME[/SUB]]` and the same under `/apis/GROUP/VERSION`; everything else is a document.
fn names_an_object(path: &str) -> bool {
    let words: Vec<&str> = path.split('/').filter(|w| !w.is_empty()).collect();
    let rest = match words.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => return true,
    };
    match rest {
        ["namespaces", _, _kind, rest @ ..] => !rest.is_empty(),
        [_kind, rest @ ..] => !rest.is_empty(),
        [] => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_those_of_rbac() {
        let devices = "/apis/kalong.dev/v1alpha1/namespaces/a/devices";
        for (method, uri, expected) in [
            (Method::GET, devices.to_owned(), "list"),
            (Method::GET, format!("{devices}?watch=true&x=1"), "watch"),
            (Method::GET, format!("{devices}/d1"), "get"),
            (Method::PUT, format!("{devices}/d1/status"), "update"),
            (Method::GET, "/apis/kalong.dev/v1alpha1/devices?limit=500".to_owned(), "list"),
            (Method::GET, "/api/v1/namespaces/a".to_owned(), "get"),
            (Method::GET, "/api/v1/namespaces/a/secrets/s".to_owned(), "get"),
            (Method::GET, "/version".to_owned(), "get"),
            (Method::POST, "/api/v1/namespaces/a/secrets".to_owned(), "create"),
            (Method::DELETE, "/api/v1/namespaces/a/secrets/s".to_owned(), "delete"),
            (Method::DELETE, "/api/v1/namespaces/a/secrets".to_owned(), "deletecollection"),
            (Method::PATCH, "/api/v1/namespaces/a/secrets/s".to_owned(), "patch"),
        ] {
            assert_eq!(verb(&method, &uri.parse().unwrap()), expected, "{method} {uri}");
        }
    }
}
