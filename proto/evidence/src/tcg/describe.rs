//! Events in words, for people. No decision reads them.

use super::{
    authentication::Authentication,
    efi::{
        EFI_GLOBAL_VARIABLE, EFI_IMAGE_SECURITY_DATABASE, SHIM_LOCK, UefiVariable, guid_text, image_path, utf16,
        version_text,
    },
    event::TcgEvent,
    kind::EventKind,
};

/// The longest description, in characters.
const MOST: usize = 200;

impl TcgEvent<'_> {
    /// What the log says of the event, on one line, without control characters, at most 200 characters.
    #[must_use]
    pub fn description(&self) -> String {
        let text = match self.kind {
            kind if kind.is_variable() => variable(self.data),
            kind if kind.is_image() => image_path(self.data).map(|path| format!("image {path}")),
            EventKind::SEPARATOR => Some(separator(self.data)),
            EventKind::EVENT_TAG => tagged(self.data),
            EventKind::NO_ACTION => self.data.split(|byte| *byte == 0).next().and_then(text),
            EventKind::EFI_GPT_EVENT | EventKind::EFI_GPT_EVENT2 => Some("GUID partition table".to_owned()),
            EventKind::EFI_PLATFORM_FIRMWARE_BLOB => Some("firmware volume".to_owned()),
            EventKind::S_CRTM_VERSION => version_text(self.data),
            _ => None,
        };
        let text = text
            .or_else(|| plain(self.data))
            .unwrap_or_else(|| hexadecimal(self.data));
        text.chars().flat_map(shown).take(MOST).collect()
    }

    /// The description with what is proven of it.
    #[must_use]
    pub fn described(&self) -> (String, Authentication) {
        (self.description(), self.authentication())
    }
}

fn shown(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = escaped.is_none().then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

fn variable(data: &[u8]) -> Option<String> {
    let (variable, _) = UefiVariable::parse_front(data)?;
    let vendor = match variable.guid {
        EFI_GLOBAL_VARIABLE | EFI_IMAGE_SECURITY_DATABASE => String::new(),
        SHIM_LOCK => " of the shim".to_owned(),
        guid => format!(" of {}", guid_text(&guid)),
    };
    let value = match variable.data {
        [] => "empty".to_owned(),
        [one] => format!("= {one}"),
        many => format!("({} bytes)", many.len()),
    };
    Some(format!("variable {}{vendor} {value}", variable.name))
}

fn separator(data: &[u8]) -> String {
    match data {
        [0, 0, 0, 0] | [0xff, 0xff, 0xff, 0xff] => "end of the firmware's own measurements".to_owned(),
        [1, 0, 0, 0] => "the firmware met an error".to_owned(),
        other => format!("separator {}", hexadecimal(other)),
    }
}

/// `TCG_PCClientTaggedEvent` (PFP, section 10.4.2.1).
fn tagged(data: &[u8]) -> Option<String> {
    let (head, body) = data.split_at_checked(8)?;
    let id: [u8; 4] = head.get(..4)?.try_into().ok()?;
    Some(format!("{} (tag 0x{:08x})", plain(body)?, u32::from_le_bytes(id)))
}

/// A string of one of the two encodings that loaders use.
fn plain(data: &[u8]) -> Option<String> {
    text(data).or_else(|| utf16(data).filter(|text| !text.is_empty() && text.chars().all(|c| !c.is_control())))
}

fn text(data: &[u8]) -> Option<String> {
    let data = data.strip_suffix(&[0]).unwrap_or(data);
    let text = std::str::from_utf8(data).ok()?;
    let readable = !text.is_empty() && text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t');
    readable.then(|| text.to_owned())
}

fn hexadecimal(data: &[u8]) -> String {
    let shown: String = data.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
    if data.len() > 32 {
        format!("{shown}… ({} bytes)", data.len())
    } else {
        shown
    }
}
