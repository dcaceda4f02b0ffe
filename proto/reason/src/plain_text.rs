//! Text that one person writes and another one reads: reasons, hints, owners.

use std::ops::RangeInclusive;

/// What a reader does not see, or what makes a text read as another: Unicode's format characters (category Cf), its line and
/// paragraph separators, all that it calls default-ignorable (fillers, joiners, variation selectors), and signs that are blank
/// (as of braille and of hieroglyphs). Spaces of another width read as a space.
const UNSEEN: &[RangeInclusive<char>] = &[
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{13442}',
    '\u{16fe4}'..='\u{16fe4}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d159}'..='\u{1d159}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

/// Whether a character makes a text read as another one: a control or format character, a separator of lines, or one that
/// nobody sees.
#[must_use]
pub fn is_misleading(character: char) -> bool {
    character.is_control() || UNSEEN.iter().any(|range| range.contains(&character))
}

/// The first [misleading](is_misleading) character of a text.
#[must_use]
pub fn misleading(text: &str) -> Option<char> {
    text.chars().find(|character| is_misleading(*character))
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
            // What nobody sees, in a word or in the place of one.
            ("\u{3164}", '\u{3164}'),
            ("ad\u{115f}min", '\u{115f}'),
            ("ad\u{1160}min", '\u{1160}'),
            ("ad\u{ffa0}min", '\u{ffa0}'),
            ("\u{2800}", '\u{2800}'),
            ("a\u{34f}b", '\u{34f}'),
            ("a\u{17b4}", '\u{17b4}'),
            ("a\u{180b}", '\u{180b}'),
            ("a\u{fe0f}", '\u{fe0f}'),
            ("a\u{e0100}", '\u{e0100}'),
            ("a\u{1d159}", '\u{1d159}'),
            ("a\u{13441}", '\u{13441}'),
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
            "\u{d55c}\u{ae00}",
            "\u{1112}\u{1161}\u{11ab}",
            "\u{2801}",
            "a\u{3000}b\u{a0}c",
        ] {
            assert_eq!(misleading(text), None, "{text:?}");
        }
    }
}
