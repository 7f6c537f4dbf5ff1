//! Rows as bytes, for comparing two versions of a read model.

/// Rows in the order of their keys, one behind another in one piece of memory: there are as many as in both versions together,
/// and a key and a value of its own for each would cost more than to read them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    bytes: Vec<u8>,
    /// Where each key ends, and its value.
    ends: Vec<(usize, usize)>,
}

impl Page {
    /// Takes all rows out, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds a row behind the others.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    /// How much the rows take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Key and value of the row at a place, from 0.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<(&[u8], &[u8])> {
        let (key_end, end) = *self.ends.get(place)?;
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |ends| ends.1);
        Some((self.bytes.get(start..key_end)?, self.bytes.get(key_end..end)?))
    }

    /// Key and value of the last row.
    #[must_use]
    pub fn last(&self) -> Option<(&[u8], &[u8])> {
        self.get(self.len().checked_sub(1)?)
    }

    /// All rows.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (0..self.len()).filter_map(|place| self.get(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_out_as_they_went_in() {
        let rows: [(&[u8], &[u8]); 4] = [(b"a", b"1"), (b"b", b""), (b"", b"22"), (b"dd", b"3")];
        let mut page = Page::default();
        assert!(page.is_empty() && page.last().is_none());
        rows.iter().for_each(|(key, value)| page.push(key, value));
        assert!(page.iter().eq(rows));
        assert_eq!((page.len(), page.last(), page.get(4)), (4, Some(rows[3]), None));
        assert_eq!(page.bytes(), 8);
        page.clear();
        assert_eq!(page, Page::default());
    }

    #[test]
    fn pages_differ_where_only_the_border_of_key_and_value_does() {
        let page = |key: &[u8], value: &[u8]| {
            let mut page = Page::default();
            page.push(key, value);
            page
        };
        assert_ne!(page(b"ab", b"c"), page(b"a", b"bc"));
        assert_eq!(page(b"ab", b"c"), page(b"ab", b"c"));
    }
}
