//! What goes into one message of many: so many items, and so many bytes.

use std::iter::Peekable;

use prost::Message;

/// The most that the items of one message take, encoded, unless one alone takes more. No client in the field reads more than
/// 4 MiB, the default of gRPC's libraries, and no item may be larger than a quarter of this.
pub const PAGE_BYTES: usize = 1 << 20;

/// Takes the next items that go into one message: `most` of them at most, and one at least where there is one.
pub fn next_page<T: Message>(items: &mut Peekable<impl Iterator<Item = T>>, most: usize) -> Vec<T> {
    let (mut page, mut bytes) = (Vec::new(), 0_usize);
    while page.len() < most
        && let Some(item) = items.next_if(|item| {
            bytes = bytes.saturating_add(item.encoded_len());
            page.is_empty() || bytes <= PAGE_BYTES
        })
    {
        page.push(item);
    }
    page
}

#[cfg(test)]
mod tests {
    use hallmark_api::types::Entry;

    use super::*;

    fn items(sizes: &[usize]) -> Peekable<impl Iterator<Item = Entry>> {
        let item = |size: &usize| Entry {
            hint: "h".repeat(*size),
            ..Entry::default()
        };
        sizes.iter().map(item).collect::<Vec<_>>().into_iter().peekable()
    }

    #[test]
    fn a_page_ends_by_count_and_by_bytes_and_always_has_one() {
        let pages = |sizes: &[usize], most: usize| {
            let mut items = items(sizes);
            let mut pages = Vec::new();
            while items.peek().is_some() {
                pages.push(next_page(&mut items, most).len());
            }
            pages
        };
        assert_eq!(pages(&[], 2), [0; 0]);
        assert_eq!(pages(&[1, 1, 1], 2), [2, 1]);
        assert_eq!(pages(&[PAGE_BYTES / 2, PAGE_BYTES / 3, PAGE_BYTES / 2], 9), [2, 1]);
        assert_eq!(pages(&[1, 2 * PAGE_BYTES, 1], 9), [1, 1, 1]);
    }
}
