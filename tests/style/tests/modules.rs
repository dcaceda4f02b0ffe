//! The modules of the programs stand one above the other: none knows another that knows it, directly or through others
//! (ADR 0017).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use hallmark_style::rust_sources;

/// Which top-level modules of a crate each of them names.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The graph of the crate whose sources are in `folder`, without its tests: these may look at everything.
fn graph(folder: &str, sources: &[(impl AsRef<Path>, String)]) -> Graph {
    let inside = sources.iter().filter_map(|(path, text)| {
        let path = path.as_ref().strip_prefix(folder).ok()?;
        let mut parts = path.iter().filter_map(|part| part.to_str()?.split('.').next());
        let first = parts.next()?.to_owned();
        let below: Vec<&str> = parts.collect();
        let is_test = below.iter().any(|part| *part == "tests" || part.ends_with("_tests"));
        // So many times `super::` is the root of the crate, as `crate::` is.
        let to_root = "super::".repeat(below.len() + 1);
        (!is_test).then(|| (first, text.replace(&to_root, "crate::")))
    });
    let mut graph = Graph::new();
    for (module, text) in inside {
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let named = graph.entry(module.clone()).or_default();
        named.extend(named_modules(&text).into_iter().filter(|name| *name != module));
    }
    graph
}

/// What follows each `crate::` of the text: one name, or several in braces. Names of types, which the root of a crate may
/// export, are no modules; comments name what they like.
fn named_modules(text: &str) -> BTreeSet<String> {
    let (code, _tests) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((text, ""));
    let lines: Vec<&str> = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = lines.join("\n");
    let mut found = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = code.get(at + prefix.len()..).unwrap_or_default();
        match rest.strip_prefix('{') {
            None => found.extend(first_name(rest)),
            Some(list) => found.extend(items(list).iter().filter_map(|item| first_name(item))),
        }
    }
    found
}

/// The items of a list in braces, without what is nested in them; `list` begins behind the opening brace.
fn items(list: &str) -> Vec<String> {
    let (mut depth, mut items) = (0_usize, vec![String::new()]);
    for letter in list.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(String::new()),
            _ if depth == 0 => items.last_mut().unwrap().push(letter),
            _ => {}
        }
    }
    items
}

fn first_name(text: &str) -> Option<String> {
    let text = text.trim_start();
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let name = text.get(..end.unwrap_or(text.len()))?;
    name.starts_with(|letter: char| letter.is_ascii_lowercase())
        .then(|| name.to_owned())
}

/// Modules that know one another in a circle, or lead to such a circle; none where all stand one above the other.
fn in_circles(graph: &Graph) -> BTreeSet<&str> {
    let mut left: BTreeSet<&str> = graph.keys().map(String::as_str).collect();
    loop {
        // What knows none of those that are left stands below them.
        let knows_none = |module: &&str| {
            graph
                .get(*module)
                .is_none_or(|named| !named.iter().any(|it| left.contains(it.as_str())))
        };
        let lowest: Vec<&str> = left.iter().copied().filter(knows_none).collect();
        if lowest.is_empty() {
            return left;
        }
        for module in lowest {
            left.remove(module);
        }
    }
}

/// The circles themselves, for people: each module with those that it knows among them.
fn told(graph: &Graph) -> String {
    let circular = in_circles(graph);
    let line = |module: &&str| {
        let named = graph.get(*module).into_iter().flatten();
        let named: Vec<&str> = named.map(String::as_str).filter(|it| circular.contains(it)).collect();
        format!("{module} knows {}", named.join(", "))
    };
    circular.iter().map(line).collect::<Vec<_>>().join("; ")
}

#[test]
fn no_modules_of_the_server_know_one_another_in_a_circle() {
    let graph = graph("server/src", &rust_sources().unwrap());
    assert!(graph.len() > 20, "{graph:?}");
    assert!(
        graph["attest"].contains("issue") && graph["journal"].contains("clock"),
        "{graph:?}"
    );
    assert!(in_circles(&graph).is_empty(), "{}", told(&graph));
}

#[test]
fn no_modules_of_the_agent_know_one_another_in_a_circle() {
    let graph = graph("firmware-agent/src", &rust_sources().unwrap());
    assert!(graph.len() > 20, "{graph:?}");
    assert!(graph["run"].contains("agent"), "{graph:?}");
    assert!(in_circles(&graph).is_empty(), "{}", told(&graph));
}

#[test]
fn only_the_wiring_of_the_server_knows_all_of_its_parts() {
    let graph = graph("server/src", &rust_sources().unwrap());
    let by_hand = ["cli", "beginning", "renewal", "rollback", "doctor", "selftest"];
    for (module, named) in &graph {
        let may = module == "run" || by_hand.contains(&module.as_str());
        assert!(may || !named.contains("run"), "{module} knows the wiring");
    }
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let source = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let straight = vec![
        source("a/src/lib.rs", "mod top; mod middle; mod low;"),
        source("a/src/top.rs", "use crate::{middle::{self, low}, low::Thing};"),
        source("a/src/middle/part.rs", "use super::top; fn f() { crate::low::g() }"),
        source("a/src/low.rs", "// As crate::top says.\nuse super::x; use crate::Root;"),
        source("b/src/low.rs", "use crate::top;"),
        source("a/src/low/tests.rs", "use crate::top;"),
        source(
            "a/src/low/part.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::top;\n}\n",
        ),
    ];
    let control = graph("a/src", &straight);
    assert_eq!(control["top"], ["low", "middle"].map(str::to_owned).into());
    assert!(in_circles(&control).is_empty(), "the control: {}", told(&control));
    for back in [
        "use crate::top::X;",
        "use crate::{\n    middle::Y,\n};",
        "fn f() { crate::middle::g() }",
        "use super::super::top::X;",
    ] {
        let mut circular = straight.clone();
        circular.push(source("a/src/low/deep.rs", back));
        let circular = graph("a/src", &circular);
        assert!(in_circles(&circular).contains("low"), "{back}: {circular:?}");
    }
}
