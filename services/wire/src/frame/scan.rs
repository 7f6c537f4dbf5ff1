//! Flat JSON as clients write it, read in one pass: objects of strings, whole numbers and such objects.
//!
//! `None` means "read it otherwise", never "it is wrong": whatever isn't plain, such as `null`, a fraction, an unknown member or one
//! that comes twice, is the serializer's to judge. What is read here, it would read in the same way; property tests hold that.

use std::borrow::Cow;

use uuid::Uuid;

/// How many bytes of a string stand before its end, an escape, or what must not stand in one: eight at a time, since most are short.
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    let mut rest = bytes;
    while let Some((eight, more)) = rest.split_first_chunk() {
        let eight = u64::from_le_bytes(*eight);
        let (quotes, escapes) = (eight ^ (ONES * u64::from(b'"')), eight ^ (ONES * u64::from(b'\\')));
        // The high bit of each byte that is zero, zero and below a space; what is carried on marks bytes behind such a one only.
        let found = (quotes.wrapping_sub(ONES) & !quotes)
            | (escapes.wrapping_sub(ONES) & !escapes)
            | (eight.wrapping_sub(ONES * u64::from(b' ')) & !eight);
        let found = found & HIGHS;
        if found != 0 {
            return bytes.len() - rest.len() + found.trailing_zeros() as usize / 8;
        }
        rest = more;
    }
    let left = rest.iter().take_while(|byte| **byte >= b' ' && !matches!(byte, b'"' | b'\\')).count();
    bytes.len() - rest.len() + left
}

/// A place in a text.
pub(super) struct Scan<'a> {
    text: &'a str,
    at: usize,
}

/// Fills a member's place; `None` if it came before.
pub(super) fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// The next character but for space, if it is this one.
    fn take(&mut self, character: u8) -> Option<()> {
        self.space();
        (self.peek() == Some(character)).then(|| self.at += 1)
    }

    /// The end of the text but for space.
    pub(super) fn end(mut self) -> Option<()> {
        self.space();
        (self.at == self.text.len()).then_some(())
    }

    /// An object; `member` reads the value of each name.
    pub(super) fn object(&mut self, mut member: impl FnMut(&mut Self, &str) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        loop {
            let name = self.plain()?;
            self.take(b':')?;
            member(self, name)?;
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// A string without escapes.
    pub(super) fn plain(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let rest = self.text.get(self.at..)?;
        let (plain, rest) = rest.split_at_checked(plain_bytes(rest.as_bytes()))?;
        rest.starts_with('"').then(|| {
            self.at += plain.len() + 1;
            plain
        })
    }

    /// A string.
    pub(super) fn string(&mut self) -> Option<Cow<'a, str>> {
        self.space();
        let start = self.at;
        if let Some(plain) = self.plain() {
            return Some(Cow::Borrowed(plain));
        }
        // It was left where it begins, or behind its quotation mark.
        self.at = start;
        self.take(b'"')?;
        loop {
            self.at += plain_bytes(self.text.as_bytes().get(self.at..)?);
            match self.peek()? {
                b'"' => break,
                // Whatever is escaped, it isn't the end; what it is the serializer knows.
                b'\\' => self.at += 2,
                _ => return None,
            }
        }
        self.at += 1;
        serde_json::from_str(self.text.get(start..self.at)?).ok().map(Cow::Owned)
    }

    /// A whole number that isn't negative.
    pub(super) fn number(&mut self) -> Option<u64> {
        self.space();
        let digits = self.text.as_bytes().get(self.at..)?;
        let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = self.text.get(self.at..self.at + length)?;
        let follows = self.text.as_bytes().get(self.at + length)?;
        let is_whole = !matches!(follows, b'.' | b'e' | b'E') && (length == 1 || !digits.starts_with('0'));
        let number = digits.parse().ok().filter(|_| is_whole)?;
        self.at += length;
        Some(number)
    }

    pub(super) fn uuid(&mut self) -> Option<Uuid> {
        self.plain()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_where_they_do_and_nowhere_else() {
        for (text, read) in [
            (r#""plain" x"#, Some("plain")),
            (r#" "Grüße""#, Some("Grüße")),
            (r#""""#, Some("")),
            (r#""a\"b\\" x"#, Some("a\"b\\")),
            (r#""\u00fc\n""#, Some("ü\n")),
            (r#""\"#, None),
            (r#""a"#, None),
            (r#""\x""#, None),
            (r#""\ud800""#, None),
            ("\"a\tb\"", None),
            ("\"\\\"a\tb\"", None),
            ("a", None),
        ] {
            assert_eq!(Scan::new(text).string().as_deref(), read, "{text}");
        }
        let mut scan = Scan::new(r#""a\"b" "c" "#);
        assert_eq!((scan.string().as_deref(), scan.plain(), scan.end()), (Some("a\"b"), Some("c"), Some(())));
    }

    #[test]
    fn the_end_of_a_string_is_found_at_every_place() {
        for before in 0..20 {
            for (end, found) in
                [("\"", true), ("\\", true), ("\u{1f}", true), (" ", false), ("\u{7f}", false), ("ü", false)]
            {
                for letter in ["a", "!", "#", "[", "]", "ÿ", "\u{10ffff}"] {
                    let plain = letter.repeat(before);
                    let all = format!("{plain}{end}{}", letter.repeat(9));
                    let expected = if found { plain.len() } else { all.len() };
                    assert_eq!(plain_bytes(all.as_bytes()), expected, "{all:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_are_whole() {
        let most = format!("{} ", u64::MAX);
        for (text, read) in [("0}", Some(0)), ("7,", Some(7)), (most.as_str(), Some(u64::MAX))] {
            assert_eq!(Scan::new(text).number(), read, "{text}");
        }
        for text in ["", "7", "-7}", "07}", "7.0}", "7e1}", "18446744073709551616}", "+7}", "x}"] {
            assert_eq!(Scan::new(text).number(), None, "{text}");
        }
    }
}
