//! Entity ids: UUIDs of version 7, which sort by the time they were made at.

use caliber_am::error::{CaliberError, CaliberResult};
use uuid::{Uuid, Variant, Version};

/// A new id, greater than every id that this process made before.
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// Lets an id pass that a caller chose, if it is of version 7.
///
/// # Errors
/// 22023 for any other UUID, naming `argument`.
pub fn require_v7(argument: &'static str, id: Uuid) -> CaliberResult<Uuid> {
    if id.get_variant() == Variant::RFC4122 && id.get_version() == Some(Version::SortRand) {
        return Ok(id);
    }
    Err(CaliberError::Argument {
        argument,
        reason: format!("{id} is not a UUID of version 7."),
        hint: Some("Make ids with caliber_new_id().".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    #[cfg_attr(miri, ignore = "reads the clock")]
    fn new_ids_rise_and_are_accepted() {
        let ids: Vec<_> = (0..10_000).map(|_| new_id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert!(ids.iter().all(|&id| require_v7("turn_id", id) == Ok(id)));
    }

    #[test]
    fn other_ids_are_refused() {
        for id in
            [Uuid::nil(), Uuid::max(), Uuid::from_u128(0xA0EEBC99_9C0B_4EF8_BB6D_6BB9BD380A11)]
        {
            let error = require_v7("turn_id", id).unwrap_err();
            assert_eq!(error.sqlstate(), "22023");
            assert_eq!(error.to_string(), "invalid value for argument \"turn_id\"");
            assert_eq!(error.detail(), Some(format!("{id} is not a UUID of version 7.")));
            assert_eq!(error.hint().unwrap(), "Make ids with caliber_new_id().");
        }
    }

    proptest! {
        #![proptest_config(crate::property_tests())]

        #[test]
        fn version_and_variant_decide(bits: u128, version in 0..16u128, variant in 0..4u128) {
            let bits = bits & !(0xF << 76) & !(0x3 << 62) | version << 76 | variant << 62;
            let accepted = require_v7("turn_id", Uuid::from_u128(bits)).is_ok();
            prop_assert_eq!(accepted, version == 7 && variant == 2);
        }
    }
}
