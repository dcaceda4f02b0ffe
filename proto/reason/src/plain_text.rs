//! Text that one person writes and another one reads: reasons, hints, owners.

use std::ops::RangeInclusive;

/// Unicode's format characters (category Cf) and its line and paragraph separators: what turns the direction of writing,
/// joins or hides letters, or begins a line.
const FORMAT: &[RangeInclusive<char>] = &[
    '\u{ad}'..='\u{ad}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{feff}'..='\u{feff}',
    '\u{fff9}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e007f}',
];

/// The first character of a text that would make it read as another one: a control or format character, or a separator of
/// lines.
#[must_use]
pub fn misleading(text: &str) -> Option<char> {
    let is_format = |c: &char| FORMAT.iter().any(|range| range.contains(c));
    text.chars().find(|c| c.is_control() || is_format(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_a_text_read_as_another_is_found() {
        for (text, found) in [
            ("stolen\u{202e}nelots", '\u{202e}'),
            ("a\u{2066}b\u{2069}", '\u{2066}'),
            ("ad\u{200b}min", '\u{200b}'),
            ("x\u{feff}", '\u{feff}'),
            ("a\u{2028}b", '\u{2028}'),
            ("a\nb", '\n'),
            ("\u{1b}[2J", '\u{1b}'),
            ("tag\u{e0041}", '\u{e0041}'),
        ] {
            assert_eq!(misleading(text), Some(found), "{text:?}");
        }
        // Letters of all languages, marks that combine with them, and signs are text.
        for text in [
            "",
            "Gr\u{f6}\u{df}e",
            "e\u{301}te\u{301}",
            "\u{e19}\u{e49}\u{e33}",
            "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
            "\u{2713} ok",
        ] {
            assert_eq!(misleading(text), None, "{text:?}");
        }
    }
}
