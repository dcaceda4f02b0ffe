//! Lists and tables that are read element by element, so that a fault has the line of its element.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// Reads one text. It does so as a visitor: what is wrong is then known to be at the text.
#[derive(Clone)]
pub(crate) struct Item<F>(pub(crate) F);

impl<'de, T, F: Fn(String) -> Result<T, String>> DeserializeSeed<'de> for Item<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        from.deserialize_string(self)
    }
}

impl<T, F: Fn(String) -> Result<T, String>> Visitor<'_> for Item<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text.to_owned()).map_err(E::custom)
    }
}

/// Reads a list of texts, each by one function.
pub struct List<F, T> {
    read: F,
    if_empty: Option<&'static str>,
    element: PhantomData<T>,
}

impl<F: Fn(String) -> Result<T, String> + Clone, T> List<F, T> {
    /// A list whose elements `read` reads.
    pub const fn new(read: F) -> Self {
        Self {
            read,
            if_empty: None,
            element: PhantomData,
        }
    }

    /// The same, which must not be empty; `message` says why.
    #[must_use]
    pub const fn not_empty(mut self, message: &'static str) -> Self {
        self.if_empty = Some(message);
        self
    }

    /// Also takes a word in the list's place.
    pub const fn or_word(self, word: &'static str) -> ListOrWord<F, T> {
        ListOrWord { list: self, word }
    }

    /// Reads it.
    ///
    /// # Errors
    /// The first element that `read` refuses, at its line.
    pub fn each<'de, D: Deserializer<'de>, C: FromIterator<T>>(self, from: D) -> Result<C, D::Error> {
        Ok(from.deserialize_seq(self)?.into_iter().collect())
    }

    fn read<'de, A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(Item(self.read.clone()))? {
            read.push(item);
        }
        match self.if_empty {
            Some(message) if read.is_empty() => Err(A::Error::custom(message)),
            _ => Ok(read),
        }
    }
}

impl<'de, T, F: Fn(String) -> Result<T, String> + Clone> DeserializeSeed<'de> for List<F, T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, T, F: Fn(String) -> Result<T, String> + Clone> Visitor<'de> for List<F, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Vec<T>, A::Error> {
        self.read(items)
    }
}

/// Reads a list, or a word: none.
pub struct ListOrWord<F, T> {
    list: List<F, T>,
    word: &'static str,
}

impl<'de, T, F: Fn(String) -> Result<T, String> + Clone> DeserializeSeed<'de> for ListOrWord<F, T> {
    type Value = Option<Vec<T>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, T, F: Fn(String) -> Result<T, String> + Clone> Visitor<'de> for ListOrWord<F, T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} or a list of strings", self.word)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Self::Value, E> {
        if word == self.word {
            Ok(None)
        } else {
            Err(E::custom(format!(
                "{word:?}: write {:?} or a list of strings",
                self.word
            )))
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        self.list.read(items).map(Some)
    }
}

struct Table<K, V> {
    key: K,
    value: V,
}

impl<'de, N, K, V, S> Visitor<'de> for Table<K, V>
where
    N: Ord,
    K: Fn(String) -> Result<N, String> + Clone,
    V: Fn() -> S,
    S: DeserializeSeed<'de>,
{
    type Value = BTreeMap<N, S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut read = BTreeMap::new();
        while let Some(key) = entries.next_key_seed(Item(self.key.clone()))? {
            let value = entries.next_value_seed((self.value)())?;
            if read.insert(key, value).is_some() {
                return Err(A::Error::custom("the same key, written in two ways"));
            }
        }
        Ok(read)
    }
}

/// A table whose keys are read by `key` and values by what `value` makes.
///
/// # Errors
/// The first key or value that is refused, at its line; two keys that are the same one.
pub fn table<'de, D, N, S>(
    from: D,
    key: impl Fn(String) -> Result<N, String> + Clone,
    value: impl Fn() -> S,
) -> Result<BTreeMap<N, S::Value>, D::Error>
where
    D: Deserializer<'de>,
    N: Ord,
    S: DeserializeSeed<'de>,
{
    from.deserialize_map(Table { key, value })
}
