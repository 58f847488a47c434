//! The names of the channels on which receivers of messages are notified.
//!
//! They are plain identifiers, so that `LISTEN` needs no quotes, and fit in PostgreSQL's 63 bytes.

use uuid::Uuid;

/// The namespace of agent types: their channels are UUIDs made of their names (version 5).
const AGENT_TYPES: Uuid = Uuid::from_u128(0x2c1f_6d0a_7d6b_4f3c_9d0e_5a1b_8c7e_4f21);

/// The channel of an agent.
pub fn of_agent(agent: Uuid) -> String {
    format!("caliber_agent_{}", agent.simple())
}

/// The channel of a type of agents, whatever characters its name has and however many.
pub fn of_type(agent_type: &str) -> String {
    format!("caliber_type_{}", Uuid::new_v5(&AGENT_TYPES, agent_type.as_bytes()).simple())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_agent_s_channel_is_its_id() {
        let agent = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_00a1);
        assert_eq!(of_agent(agent), "caliber_agent_019200000000700080000000000000a1");
    }

    proptest! {
        #![proptest_config(crate::property_tests())]

        #[test]
        fn channels_are_plain_identifiers(a: String, b: String) {
            let plain = |name: &str| {
                name.len() <= 63
                    && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            };
            prop_assert!(plain(&of_type(&a)));
            prop_assert_eq!(of_type(&a) == of_type(&b), a == b);
        }
    }
}
