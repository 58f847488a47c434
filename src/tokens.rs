//! An estimate of how many tokens a text costs, for callers that did not count.

/// Estimates the tokens of a text: four ASCII characters make one token, two characters of two
/// UTF-8 bytes (accented Latin, Greek, Cyrillic, Hebrew, Arabic) make one, and each longer
/// character (Chinese, Japanese, Korean, emoji) is one. Rounded up; no text costs more than
/// `i32::MAX`.
///
/// A text never costs less than a part of it, nor more than its parts together.
pub fn estimate(text: &str) -> i32 {
    let quarters: u64 = text
        .chars()
        .map(|c| match c.len_utf8() {
            1 => 1,
            2 => 2,
            _ => 4,
        })
        .sum();
    i32::try_from(quarters.div_ceil(4)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples() {
        assert_eq!(estimate(""), 0);
        assert_eq!(estimate("a"), 1);
        assert_eq!(estimate("four"), 1);
        assert_eq!(estimate("fives"), 2);
        assert_eq!(estimate("Привет"), 3);
        assert_eq!(estimate("你好世界"), 4);
        assert_eq!(estimate("🦀"), 1);
        assert_eq!(estimate(&"word ".repeat(1000)), 1250);
    }

    proptest! {
        #![proptest_config(crate::property_tests())]

        #[test]
        fn a_text_costs_no_less_than_its_parts_and_no_more_than_their_sum(a: String, b: String) {
            let whole = estimate(&format!("{a}{b}"));
            prop_assert!(whole <= estimate(&a) + estimate(&b));
            prop_assert!(whole >= estimate(&a).max(estimate(&b)));
            prop_assert_eq!(estimate(&a) == 0, a.is_empty());
        }
    }
}
