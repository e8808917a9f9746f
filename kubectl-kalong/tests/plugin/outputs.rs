//! Every output of the plugin against its golden file, with the program as people run it and no cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::golden;

/// A folder of one test, and the program run in it.
struct Desk {
    folder: PathBuf,
}

impl Desk {
    fn new(test: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubectl-kalong").join(test);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let desk = Self { folder };
        for name in ["author-a.pem", "author-b.pem", "keys.json", "artifact.bin"] {
            fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name), desk.path(name)).unwrap();
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn run(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kubectl-kalong"))
            .args(words)
            .current_dir(&self.folder)
            .env_remove("COLUMNS")
            .env_remove("KUBECONFIG")
            .env("HOME", &self.folder)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn done(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn new_release(&self, out: &str) {
        self.done(&[
            "release",
            "new",
            "--model",
            "plate-camera",
            "--version",
            "2.10",
            "--counter",
            "3",
            "--artifact",
            "artifact.bin",
            "--url",
            "https://artifacts.example/plate-camera-2.10.bin",
            "-n",
            "mong-cai",
            "-o",
            out,
        ]);
    }

    fn sign(&self, file: &str, key: &str, out: &str) {
        self.done(&["release", "sign", file, "--key", key, "-o", out]);
    }
}

/// Exit code, stdout and stderr as one text.
fn whole(output: &Output) -> String {
    format!(
        "exit code {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn help_of_every_verb() {
    let desk = Desk::new("help");
    for (name, words) in [
        ("help.txt", &["--help"][..]),
        ("help-status.txt", &["status", "--help"]),
        ("help-why.txt", &["why", "--help"]),
        ("help-doctor.txt", &["doctor", "--help"]),
        ("help-drain.txt", &["drain", "--help"]),
        ("help-drain-list.txt", &["drain", "list", "--help"]),
        ("help-drain-release.txt", &["drain", "release", "--help"]),
        ("help-enrol.txt", &["enrol", "--help"]),
        ("help-release.txt", &["release", "--help"]),
        ("help-release-keygen.txt", &["release", "keygen", "--help"]),
        ("help-release-new.txt", &["release", "new", "--help"]),
        ("help-release-sign.txt", &["release", "sign", "--help"]),
        ("help-release-verify.txt", &["release", "verify", "--help"]),
        ("help-completion.txt", &["completion", "--help"]),
    ] {
        golden::compare(name, &desk.done(words));
    }
}

#[test]
fn completions_exist_for_the_usual_shells() {
    let desk = Desk::new("completion");
    for shell in ["bash", "zsh", "fish"] {
        let text = desk.done(&["completion", shell]);
        for verb in ["status", "why", "doctor", "drain", "list", "release", "enrol"] {
            assert!(text.contains(verb), "{shell} does not know {verb}");
        }
    }
}

#[test]
fn new_release_is_measured_from_its_artifact() {
    let desk = Desk::new("new");
    desk.new_release("release.yaml");
    golden::compare("release-new.yaml", &desk.read("release.yaml"));
}

#[test]
fn signing_is_deterministic_and_keeps_other_authors() {
    let desk = Desk::new("sign");
    desk.new_release("release.yaml");
    let first = desk.run(&["release", "sign", "release.yaml", "--key", "author-b.pem", "-o", "b.yaml"]);
    golden::compare("release-sign.txt", &whole(&first));
    desk.sign("b.yaml", "author-a.pem", "ab.yaml");
    golden::compare("release-signed.yaml", &desk.read("ab.yaml"));
    desk.sign("ab.yaml", "author-b.pem", "again.yaml");
    assert_eq!(desk.read("again.yaml"), desk.read("ab.yaml"));
    assert_eq!(desk.done(&["release", "sign", "b.yaml", "--key", "author-a.pem"]), desk.read("ab.yaml"));
}

#[test]
fn verify_says_what_the_agent_would_say() {
    let desk = Desk::new("verify");
    desk.new_release("release.yaml");
    desk.sign("release.yaml", "author-a.pem", "a.yaml");
    desk.sign("a.yaml", "author-b.pem", "ab.yaml");
    fs::write(desk.path("bent.yaml"), desk.read("a.yaml").replace("securityCounter: 3", "securityCounter: 4")).unwrap();
    fs::write(desk.path("moved.yaml"), desk.read("a.yaml").replace("artifacts.example", "mirror.example")).unwrap();
    fs::write(desk.path("other.bin"), "other bytes").unwrap();
    fs::write(desk.path("none.json"), r#"{"number": 1, "keys": []}"#).unwrap();
    let verify = |file: &str, more: &[&str]| {
        let words = [&["release", "verify", file, "--keys", "keys.json"][..], more].concat();
        desk.run(&words)
    };
    golden::compare("verify-good.txt", &whole(&verify("a.yaml", &["--artifact", "artifact.bin"])));
    golden::compare("verify-two.txt", &whole(&verify("ab.yaml", &["--class", "Barrier"])));
    golden::compare("verify-two.json", &whole(&verify("ab.yaml", &["--class", "LanePlc", "-o", "json"])));
    golden::compare("verify-too-few.txt", &whole(&verify("a.yaml", &["--class", "Barrier"])));
    golden::compare("verify-too-few.yaml", &whole(&verify("a.yaml", &["--class", "Barrier", "-o", "yaml"])));
    golden::compare("verify-unsigned.txt", &whole(&verify("release.yaml", &[])));
    golden::compare("verify-bent.txt", &whole(&verify("bent.yaml", &[])));
    golden::compare("verify-other-artifact.txt", &whole(&verify("a.yaml", &["--artifact", "other.bin"])));
    assert_eq!(verify("moved.yaml", &[]).status.code(), Some(0));
    let unpinned = desk.run(&["release", "verify", "a.yaml", "--keys", "none.json"]);
    golden::compare("verify-no-keys.txt", &whole(&unpinned));
}

#[test]
fn a_key_that_keygen_made_signs_what_verify_accepts() {
    let desk = Desk::new("keygen");
    let made = desk.run(&["release", "keygen", "--out", "mine.pem", "--key-id", "mine"]);
    golden::compare("keygen.txt", &whole(&made));
    desk.new_release("release.yaml");
    desk.sign("release.yaml", "mine.pem", "signed.yaml");
    desk.done(&["release", "verify", "signed.yaml", "--keys", "mine.pem.pub.json", "--artifact", "artifact.bin"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(desk.path("mine.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let added =
        desk.run(&["release", "keygen", "--out", "second.pem", "--key-id", "second", "--keys", "mine.pem.pub.json"]);
    golden::compare("keygen-added.txt", &whole(&added));
    let before = desk.read("mine.pem");
    golden::compare(
        "keygen-exists.txt",
        &whole(&desk.run(&["release", "keygen", "--out", "mine.pem", "--key-id", "third"])),
    );
    assert_eq!(desk.read("mine.pem"), before);
    let taken = desk.run(&["release", "keygen", "--out", "x.pem", "--key-id", "mine", "--keys", "mine.pem.pub.json"]);
    golden::compare("keygen-taken.txt", &whole(&taken));
    assert!(!desk.path("x.pem").exists());
}

#[test]
fn bad_input_is_refused_with_the_next_step() {
    let desk = Desk::new("bad");
    desk.new_release("release.yaml");
    let good = desk.read("release.yaml");
    for (name, text) in [
        ("typo.yaml", good.replace("models:", "hardwareRevision: A\n  models:")),
        ("float.yaml", good.replace("\"2.10\"", "2.10").replace("'2.10'", "2.10")),
        ("kind.yaml", good.replace("kind: FirmwareRelease", "kind: Device")),
        ("two.yaml", format!("{good}---\n{good}")),
        ("broken.yaml", "spec: [".to_owned()),
    ] {
        assert_ne!(text, good, "{name}");
        fs::write(desk.path(name), text).unwrap();
        let output = desk.run(&["release", "sign", name, "--key", "author-a.pem"]);
        assert!(output.stdout.is_empty());
        golden::compare(&format!("bad-{}.txt", name.trim_end_matches(".yaml")), &whole(&output));
    }
    let absent = desk.run(&["release", "sign", "absent.yaml", "--key", "author-a.pem"]);
    golden::compare("bad-absent.txt", &whole(&absent));
    let no_key = desk.run(&["release", "sign", "release.yaml", "--key", "artifact.bin"]);
    golden::compare("bad-key.txt", &whole(&no_key));
    fs::write(desk.path("nameless.pem"), desk.read("author-a.pem").replace("Key-Id:", "Id:")).unwrap();
    let nameless = desk.run(&["release", "sign", "release.yaml", "--key", "nameless.pem"]);
    golden::compare("bad-nameless.txt", &whole(&nameless));
    golden::compare("bad-ttl.txt", &whole(&desk.run(&["enrol", "x", "--ttl", "25h"])));
    golden::compare("bad-kubeconfig.txt", &whole(&desk.run(&["enrol", "x", "--kubeconfig", "absent"])));
    golden::compare("bad-counter.txt", &whole(&desk.run(&["release", "new", "--counter", "4294967296"])));
}

#[test]
fn wrong_words_of_the_verbs_for_a_gate_are_refused_at_the_desk() {
    let desk = Desk::new("gate");
    for (name, words) in [
        ("bad-status-object.txt", &["status", "pod/x"][..]),
        ("bad-status-three.txt", &["status", "lane", "a", "b"]),
        ("bad-why-form.txt", &["why", "lane"]),
        ("bad-drain-reason.txt", &["drain", "lane/a"]),
        ("bad-drain-target.txt", &["drain", "device/a", "--reason", "x"]),
        ("bad-drain-no-end.txt", &["drain", "lane/a", "--reason", "x", "--emergency"]),
        ("bad-drain-past.txt", &["drain", "lane/a", "--reason", "x", "--until", "2026-01-01T00:00:00Z"]),
        (
            "bad-drain-two-ends.txt",
            &["drain", "lane/a", "--reason", "x", "--until", "2036-01-01T00:00:00Z", "--for", "2h"],
        ),
        ("bad-drain-requester.txt", &["drain", "lane/a", "--reason", "x", "--requester", "two words"]),
        ("bad-doctor-kubeconfig.txt", &["doctor", "--kubeconfig", "absent"]),
        ("bad-status-both.txt", &["status", "-A", "-n", "x"]),
    ] {
        let output = desk.run(words);
        assert!(output.stdout.is_empty(), "{words:?}");
        golden::compare(name, &whole(&output));
    }
}
