//! Text that others chose (selectors, hints, reasons, paths) on its way to a terminal.

/// The text with every character spelt out that a terminal would act on or not show: control characters, those that turn the
/// direction of writing or join what stands apart, spaces that are none.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_shown(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_default());
        }
    }
    shown
}

/// [`printable`], line by line: for what consists of lines by itself.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Unicode's categories Cc, Cf, Co, Cn, Zl, Zp and, but for the space itself, Zs are what `escape_debug` spells out, beside
/// quotes and marks that combine with the letter before. What nobody sees is among the others too, as fillers and blanks are.
fn is_shown(character: char) -> bool {
    let is_plain = matches!(character, '"' | '\'' | '\\') || character.escape_debug().len() == 1;
    is_plain && !hallmark_reason::is_misleading(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_spelt_out() {
        for (text, shown) in [
            ("a\u{1b}[31mb\nc\td", r"a\u{1b}[31mb\nc\td"),
            ("user:\u{202e}toor", r"user:\u{202e}toor"),
            ("\u{2066}x\u{2069}\u{200f}\u{61c}", r"\u{2066}x\u{2069}\u{200f}\u{61c}"),
            ("ro\u{200b}ot\u{feff}\u{ad}", r"ro\u{200b}ot\u{feff}\u{ad}"),
            ("a\u{2028}b\u{a0}c\u{9b}", r"a\u{2028}b\u{a0}c\u{9b}"),
            ("\u{e0041}", r"\u{e0041}"),
            ("ad\u{3164}min\u{2800}\u{115f}", r"ad\u{3164}min\u{2800}\u{115f}"),
        ] {
            assert_eq!(printable(text), shown);
            assert_eq!(printable(shown), shown, "the control");
        }
        let plain = r#"a "b" 'c' \d — Größe 東京 ✓"#;
        assert_eq!(printable(plain), plain);
        assert_eq!(printable_lines("a\n\u{202e}b\n"), "a\n\\u{202e}b\n");
    }
}
