//! What is printed.

use std::{
    io::{self, Write as _},
    path::Path,
    time::{Duration, SystemTime},
};

use hallmark_host::{answer::Output, printable};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{ApiError, X509Context, context::Svid};

/// A time, RFC 3339.
pub(super) fn time(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at).replace_nanosecond(0);
    at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

/// An answer, for people or for programs. No key is in it.
pub(super) fn answer(output: Output, context: &X509Context, folder: Option<&Path>, now: SystemTime) -> String {
    output.of(|| text(context, folder, now), || value(context, folder))
}

/// A change, for who reads along: a line, JSON one object a line, YAML one document.
pub(super) fn change(output: Output, context: &X509Context, folder: Option<&Path>, now: SystemTime) -> String {
    let line = || {
        let ids: Vec<String> = context
            .svids
            .iter()
            .map(|svid| format!("{} (expires {})", svid.id, time(svid.not_after)))
            .collect();
        format!("{} {}", time(now), ids.join(", "))
    };
    output.of_many(line, || value(context, folder))
}

fn text(context: &X509Context, folder: Option<&Path>, now: SystemTime) -> String {
    let mut blocks: Vec<String> = context.svids.iter().map(|svid| of_svid(svid, now)).collect();
    if let Some(folder) = folder {
        blocks.push(format!("written to   {}", folder.display()));
    }
    blocks.join("\n\n")
}

fn of_svid(svid: &Svid, now: SystemTime) -> String {
    let left = svid.not_after.duration_since(now).unwrap_or(Duration::ZERO).as_secs() / 60;
    let mut lines = vec![format!("SPIFFE ID    {}", svid.id)];
    if !svid.hint.is_empty() {
        lines.push(format!("hint         {}", printable(&svid.hint)));
    }
    lines.push(format!("serial       {}", svid.serial));
    if !svid.dns_names.is_empty() {
        lines.push(format!("DNS names    {}", printable(&svid.dns_names.join(", "))));
    }
    lines.push(format!("valid from   {}", time(svid.not_before)));
    lines.push(format!("expires      {} (in {left} min)", time(svid.not_after)));
    lines.push(format!("authorities  {}", svid.bundle.len()));
    lines.join("\n")
}

fn value(context: &X509Context, folder: Option<&Path>) -> Value {
    let svid = |svid: &Svid| {
        json!({
            "spiffe_id": svid.id.to_string(),
            "hint": svid.hint,
            "serial": svid.serial,
            "dns_names": svid.dns_names,
            "not_before": time(svid.not_before),
            "not_after": time(svid.not_after),
            "authorities": svid.bundle.len(),
        })
    };
    let svids: Vec<Value> = context.svids.iter().map(svid).collect();
    json!({ "svids": svids, "folder": folder.map(|folder| folder.display().to_string()) })
}

/// Prints to stdout; whoever stops reading has had enough.
///
/// # Errors
/// When stdout takes nothing.
pub(super) fn print(text: &str) -> Result<(), ApiError> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ApiError::Filesystem {
            action: "write to",
            path: "/dev/stdout".into(),
            detail: error.to_string(),
        }),
        _ => Ok(()),
    }
}
