//! Lists of digests, and lists that come in parts.

use hallmark_policy::signed::{FileKind, OperatorKey, SignedFile};
use hallmark_policy::{DigestList, ImaSummary, MachineFacts, PolicySet};
use hallmark_reason::{Coded as _, Report};
use proptest::prelude::*;

use crate::ima::{P256, first_line, proven, summary};
use crate::machine::{digest, good, now, policy};
use crate::signed::{KEY, keys, td};
use crate::writer;

fn import(text: &str) -> DigestList {
    DigestList::import("debian", 1, text).unwrap().0
}

fn sha256(digits: &str) -> String {
    format!("sha256:{}", digest(digits))
}

#[test]
fn what_the_tools_write_is_read() {
    let [a, b, c] = ["aa", "bb", "cc"].map(digest);
    let text = format!(
        "# made by a release job\n{a}  ./usr/bin/a\n{b} */usr/bin/b b\n\\{c}  /usr/bin/c\\n\\\\\n\n\
         SHA256 (./etc/d (1)) = {a}\n{}\n{c}{c}  /long\nverity:{b}  /tree\n{a}  usr/bin/e\n{a}  init\n\
         {c} *.//usr/./bin//f g\n",
        b.to_uppercase()
    );
    let list = import(&text);
    for (name, digest, expected) in [
        ("/usr/bin/a", sha256("aa"), true),
        ("./usr/bin/a", sha256("aa"), false),
        ("/usr/bin/a", sha256("cc"), false),
        // The kernel writes names without spaces.
        ("/usr/bin/b_b", sha256("bb"), true),
        ("/usr/bin/b_b", sha256("aa"), false),
        ("/usr/bin/b b", sha256("cc"), false),
        ("/anywhere", sha256("bb"), true),
        ("/anywhere", sha256("aa"), false),
        ("/usr/bin/c\\x0a\\x5c", sha256("cc"), true),
        ("/usr/bin/c", sha256("cc"), false),
        ("/etc/d_(1)", sha256("aa"), true),
        ("/usr/bin/e", sha256("aa"), true),
        ("usr/bin/e", sha256("aa"), false),
        ("/init", sha256("aa"), true),
        ("init", sha256("aa"), true),
        ("/bin/init", sha256("aa"), false),
        ("/usr/bin/f_g", sha256("cc"), true),
        ("/usr/bin/f_g", sha256("aa"), false),
        ("/long", format!("sha512:{c}{c}"), true),
        ("/tree", format!("verity:{}", sha256("bb")), true),
        ("/tree", sha256("bb"), true),
    ] {
        assert_eq!(list.allows(name, &digest), expected, "{name} {digest}");
    }
    assert!(list.knows(&sha256("aa")) && !list.knows(&sha256("dd")));
}

#[test]
fn a_list_is_written_and_read_and_the_same_bytes_come_again() {
    let list = import(&format!(
        "{}  /a\n{}\n{}  /a\n",
        digest("aa"),
        digest("bb"),
        digest("cc")
    ));
    let text = list.to_json();
    let read = DigestList::from_json(&text).unwrap();
    assert_eq!((&read, read.to_json()), (&list, text.clone()));
    assert_eq!(DigestList::import("other", 9, &text).unwrap(), (list.clone(), vec![]));
    let marked = format!("\u{feff}{text}");
    assert_eq!(DigestList::from_json(&marked).unwrap(), list);
    assert_eq!(DigestList::import("other", 9, &marked).unwrap(), (list, vec![]));
    let code = |text: &str| DigestList::from_json(text).unwrap_err().code().to_string();
    for bad in [
        text.replace("\"digest_list\":1", "\"digest_list\":2"),
        text.replace("debian", "De bian"),
        text.replace(&sha256("bb"), &sha256("BB")),
        text.replace(&sha256("bb"), "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        text.replace("\"serial\":1", "\"serial\":1,\"more\":1"),
        text.replace('}', ""),
    ] {
        assert_eq!(code(&bad), "HM-POLICY-0221", "{bad}");
    }
}

#[test]
fn a_runtime_policy_of_keylime_gives_its_digests_and_tells_the_rest() {
    let text = serde_json::json!({
        "meta": {"version": 5, "generator": 3},
        "release": 0,
        "digests": {"/usr/bin/a": [digest("aa"), "da39a3ee5e6b4b0d3255bfef95601890afd80709"], "/b": [digest("bb")]},
        "excludes": ["/tmp/.*"],
        "keyrings": {},
        "ima": {"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null},
        "ima-buf": {},
        "verification-keys": ""
    });
    let (list, left_out) = DigestList::import("debian", 3, &text.to_string()).unwrap();
    assert_eq!((list.name.as_str(), list.serial, list.len()), ("debian", 3, 2));
    assert!(list.allows("/usr/bin/a", &sha256("aa")));
    let sha1 = "digests: /usr/bin/a: da39a3ee5e6b4b0d3255bfef95601890afd80709";
    assert_eq!(left_out, [sha1, "excludes", "ima"]);
}

#[test]
fn what_is_no_list_is_refused_with_its_line() {
    let told = |text: &str| Report(&DigestList::import("debian", 1, text).unwrap_err()).to_string();
    let good = format!("{}  /a\n", digest("aa"));
    for bad in [
        "da39a3ee5e6b4b0d3255bfef95601890afd80709  /sha1\n",
        "no digest\n",
        &format!("{}  \n", digest("aa")),
        &format!("md5:{}  /a\n", &digest("aa")[..32]),
        &format!("sha512:{}  /a\n", digest("aa")),
        &format!("\\{}  /a\\x\n", digest("aa")),
        &format!("SHA1 (/a) = {}\n", digest("aa")),
        &format!(" {}  /a\n", digest("aa")),
        &format!("{}  ../usr/bin/a\n", digest("aa")),
        &format!("{}  /usr/../bin/a\n", digest("aa")),
        &format!("{}  /usr/bin/\n", digest("aa")),
        &format!("{}  ./\n", digest("aa")),
    ] {
        let told = told(&format!("{good}\n{bad}"));
        let begin = "HM-POLICY-0221: the list of digests is malformed at line 3: ";
        assert!(told.starts_with(begin), "{bad:?}: {told}");
    }
    assert!(told("").starts_with("HM-POLICY-0223"));
    assert!(told("# nothing\n").starts_with("HM-POLICY-0223"));
    assert!(told("{}").starts_with("HM-POLICY-0221"));
    assert!(told(&"#".repeat(DigestList::MAX_BYTES + 1)).starts_with("HM-POLICY-0222"));
    assert!(DigestList::import("Bad Name", 1, &good).is_err());
}

fn machine(lines: &[Vec<u8>]) -> MachineFacts {
    MachineFacts {
        ima: Some(summary(lines)),
        ..good()
    }
}

#[test]
fn policies_name_lists_and_one_of_them_is_enough() {
    let listed = machine(&[first_line(), writer::file("/a", &[0xaa; 32])]);
    let other = machine(&[first_line(), writer::file("/a", &[0xbb; 32])]);
    let mut set = PolicySet::default();
    set.apply(policy("[ima]\nlists = [\"debian\", \"next\"]"));
    let code = |set: &PolicySet, machine| {
        set.judge(machine, now())
            .refusal()
            .map(|reason| reason.code.to_string())
    };
    assert_eq!(code(&set, &listed).as_deref(), Some("HM-POLICY-0206"));
    assert_eq!(set.dangling_digest_lists().len(), 2);
    assert_eq!(set.add_digest_list(import(&format!("{}  /a", digest("aa")))), None);
    assert_eq!(code(&set, &listed), None);
    assert_eq!(code(&set, &other).as_deref(), Some("HM-POLICY-0210"));
    let next = DigestList::import("next", 1, &format!("{}  /a", digest("bb")))
        .unwrap()
        .0;
    set.add_digest_list(next);
    assert_eq!((code(&set, &listed), code(&set, &other)), (None, None));
    assert!(set.dangling_digest_lists().is_empty() && set.digest_lists().count() == 2);
    set.remove_digest_list("debian");
    assert_eq!(code(&set, &listed).as_deref(), Some("HM-POLICY-0210"));
}

#[test]
fn attack_52_a_list_is_signed_as_a_list() {
    let (key, keys) = (OperatorKey::from_pem(KEY.as_bytes()).unwrap(), keys());
    let list = import(&digest("aa")).to_json().into_bytes();
    let sealed = SignedFile::seal(FileKind::DigestList, &td("example.org"), list.clone(), &key).unwrap();
    let read = SignedFile::parse(&sealed.to_json()).unwrap();
    let marked = format!("\u{feff}{}", sealed.to_json());
    assert!(SignedFile::is_one(&marked) && SignedFile::parse(&marked).unwrap() == read);
    assert_eq!(
        read.clone().open(FileKind::DigestList, None, &keys).unwrap().payload,
        list
    );
    assert!(read.open(FileKind::Policy, None, &keys).is_err());
}

#[test]
fn keys_of_all_policies_are_looked_for_and_go_with_their_policy() {
    let mut set = PolicySet::default();
    assert!(set.ima_keys().is_empty());
    set.apply(policy(&format!("[ima]\nkeys = ['''{P256}''']")));
    assert_eq!(set.ima_keys().iter().count(), 1);
    set.withdraw("p");
    assert_eq!(set, PolicySet::default());
}

/// A line of a small world, in which the same line comes again.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let violation = |digit: u8| {
        let fields = [
            writer::digest("sha256", &[0; 32]),
            writer::name(format!("/v{digit}").as_bytes()),
        ];
        let data: Vec<u8> = fields.iter().flat_map(|field| writer::sized(field)).collect();
        writer::line_with_hash("ima-ng", &data, &[0; 20])
    };
    let signed = |digit: u8, signature: u8| {
        let head = [writer::digest("sha256", &[digit; 32]), writer::name(b"/s")];
        let signature = vec![3, 2, 4, signature, 0, 0, 0, 0, 1, signature];
        writer::line("ima-sig", &[&head[..], &[signature]].concat())
    };
    let elsewhere = |digit: u8| {
        let mut line = writer::file("/e", &[digit; 32]);
        line[0] = 11;
        line
    };
    prop_oneof![
        6 => (0..4_u8, 0..3_u8).prop_map(|(path, digit)| writer::file(&format!("/{path}"), &[digit; 32])),
        2 => (0..2_u8, 0..3_u8).prop_map(move |(digit, signature)| signed(digit, signature)),
        1 => (0..3_u8).prop_map(violation),
        1 => (0..3_u8).prop_map(elsewhere),
        1 => Just(first_line()),
    ]
}

proptest! {
    #[test]
    fn parts_make_the_summary_of_the_whole(
        first in any::<bool>(),
        lines in prop::collection::vec(line(), 0..40),
        cuts in prop::collection::vec(0..40_usize, 0..4),
    ) {
        let lines = if first { [vec![first_line()], lines].concat() } else { lines };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(lines.len())).collect();
        cuts.extend([0, lines.len()]);
        cuts.sort_unstable();
        let mut replay = None;
        let mut held: Option<ImaSummary> = None;
        for part in cuts.windows(2) {
            let files = proven(replay.clone(), &lines[part[0]..part[1]]);
            // What was stored is as good as what was held, its lines apart from it.
            held = held.map(|held| {
                let mut stored: ImaSummary = serde_json::from_str(&serde_json::to_string(&held).unwrap()).unwrap();
                prop_assert_eq!((stored.away(), stored.files.len()), (held.kept, 0));
                prop_assert!(stored.recall(held.files.clone()));
                prop_assert_eq!(&stored, &held);
                Ok(stored)
            }).transpose()?;
            held = ImaSummary::of(held, &files);
            prop_assert!(held.is_some());
            replay = Some(files.replay().clone());
        }
        let whole = summary(&lines);
        prop_assert_eq!(held.as_ref().unwrap(), &whole);
    }

    #[test]
    fn a_part_that_does_not_go_on_is_no_summary(before in 1..5_usize, more in 1..5_usize, skip in 0..10_usize) {
        let lines: Vec<_> = (0..10_u8).map(|digit| writer::file("/a", &[digit; 32])).collect();
        let held = summary(&lines[..before]);
        let other = proven(None, &lines[..skip]);
        let files = proven(Some(other.replay().clone()), &lines[skip..(skip + more).min(10)]);
        prop_assume!(skip > 0);
        prop_assert_eq!(ImaSummary::of(Some(held.clone()), &files).is_some(), skip == before);
        prop_assert!(ImaSummary::of(None, &files).is_none());
        let mut same = held.clone();
        prop_assert_eq!(same.extend(&files), skip == before);
        prop_assert_eq!(same == held, skip != before);
    }
}
