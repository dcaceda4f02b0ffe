//! What fails, and when.
//!
//! One fault in a line: a function's name without `C_`, what it does, and when.
//!
//! | what | |
//! |---|---|
//! | `code=0x30` | it returns this value and does nothing |
//! | `flip` `short` `zero` | a signature with one bit wrong, one byte less, or of zeros |
//! | `empty` | a list with nothing in it |
//! | `hide=0x1041,0x1` | a list without these mechanisms |
//! | `hang` | it does not return as long as the line is there |
//!
//! | when | |
//! |---|---|
//! | nothing | each time |
//! | `nth=3` | the third time only, counted from when the line was first read |
//! | `from=3` | the third time and later |
//! | `until-initialize` | until C_Initialize is called again after it has struck |
//! | `until-logout` | until C_Logout is called after it has struck |

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::PathBuf,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use cryptoki_sys::{CK_MECHANISM_TYPE, CK_RV};

/// What a call does instead of what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Code(CK_RV),
    Flip,
    Short,
    Zero,
    Empty,
    Hide(Vec<CK_MECHANISM_TYPE>),
    Hang,
}

#[derive(Default)]
struct State {
    initialized: u64,
    logged_out: u64,
    /// Of each line that was seen: calls so far, and when it struck first.
    lines: BTreeMap<String, Line>,
}

#[derive(Default, Clone, Copy)]
struct Line {
    calls: u64,
    struck: Option<(u64, u64)>,
}

static CONTROL: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os("PKCS11_FAULTS_CONTROL").map(PathBuf::from));
static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn initialized() {
    state().initialized += 1;
}

pub(crate) fn logged_out() {
    state().logged_out += 1;
}

/// The fault at this call of `function`. One that hangs is waited for here.
pub(crate) fn at(function: &str) -> Option<Fault> {
    note(function);
    let control = CONTROL.as_ref()?;
    let text = fs::read_to_string(control).ok()?;
    let (fault, line) = strikes(&mut state(), &text, function)?;
    if fault != Fault::Hang {
        return Some(fault);
    }
    while fs::read_to_string(control).is_ok_and(|text| text.lines().any(|present| present == line)) {
        // Real time: a device that hangs.
        thread::sleep(Duration::from_millis(5));
    }
    None
}

fn note(function: &str) {
    let Some(control) = CONTROL.as_ref() else { return };
    let mut path = control.clone().into_os_string();
    path.push(".calls");
    if let Ok(mut file) = fs::OpenOptions::new().append(true).open(path) {
        let _ = writeln!(file, "{function}");
    }
}

fn strikes(state: &mut State, text: &str, function: &str) -> Option<(Fault, String)> {
    state
        .lines
        .retain(|line, _| text.lines().any(|present| present == line));
    let now = (state.initialized, state.logged_out);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some(function) {
            continue;
        }
        let seen = state.lines.entry(line.to_owned()).or_default();
        seen.calls += 1;
        let mut fault = None;
        let mut strikes = true;
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "nth" => strikes &= value.parse() == Ok(seen.calls),
                "from" => strikes &= value.parse().is_ok_and(|from: u64| seen.calls >= from),
                "until-initialize" => strikes &= seen.struck.is_none_or(|struck| struck.0 == now.0),
                "until-logout" => strikes &= seen.struck.is_none_or(|struck| struck.1 == now.1),
                _ => fault = what(name, value),
            }
        }
        if let (true, Some(fault)) = (strikes, fault) {
            seen.struck.get_or_insert(now);
            return Some((fault, line.to_owned()));
        }
    }
    None
}

fn what(name: &str, value: &str) -> Option<Fault> {
    let number = |text: &str| CK_RV::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    Some(match name {
        "code" => Fault::Code(number(value)?),
        "flip" => Fault::Flip,
        "short" => Fault::Short,
        "zero" => Fault::Zero,
        "empty" => Fault::Empty,
        "hide" => Fault::Hide(value.split(',').filter_map(number).collect()),
        "hang" => Fault::Hang,
        _ => return None,
    })
}
