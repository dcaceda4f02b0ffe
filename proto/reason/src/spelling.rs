//! What the writer of a wrong word may have meant.

/// The known key that is spelt most alike, if any is close.
#[must_use]
pub fn nearest<'a>(key: &str, known: &'a [String]) -> Option<&'a str> {
    let (distance, meant) = known.iter().map(|name| (distance(key, name), name)).min()?;
    (distance <= 2 || distance * 3 <= key.len()).then_some(meant.as_str())
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (index, from) in a.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.chars()) {
            let above = *cell;
            left = (diagonal + usize::from(from != to)).min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_levenshteins() {
        for (a, b, expected) in [
            ("", "", 0),
            ("abc", "", 3),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("pin", "pin", 0),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_a_close_key_is_suggested() {
        let known = ["module".to_owned(), "token_label".to_owned(), "pin".to_owned()];
        assert_eq!(nearest("token_labl", &known), Some("token_label"));
        assert_eq!(nearest("slot_number", &known), None);
    }
}
