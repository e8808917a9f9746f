//! Compares an output with its golden file; `UPDATE_GOLDEN=1 cargo test -p kubectl-kalong` writes them anew.

use std::path::Path;

/// Holds the text against the file of this name beside this module.
pub fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|v| v == "1") {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; write it with UPDATE_GOLDEN=1", path.display()));
    assert_eq!(text, expected, "{name} differs; if that is meant, run with UPDATE_GOLDEN=1 and review the difference");
}
