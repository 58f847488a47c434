//! Fenced writes: whether a writer with a fence, or without one, may write a trajectory, a scope
//! or a turn.

use caliber_am::error::{CaliberError, CaliberResult};

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may go on; there is nothing to remember.
    Pass,
    /// It is refused: a fence was used before, and the writer gave none.
    Missing {
        /// The highest fence remembered.
        current: i64,
    },
    /// It is refused: a higher fence was used before.
    Stale {
        /// The highest fence remembered.
        current: i64,
    },
    /// It may go on, and its fence has to be remembered, if the fence is that of a live lease;
    /// otherwise it is refused.
    Prove {
        /// The highest fence remembered.
        current: i64,
    },
}

/// Compares the fence given with those remembered by the scope (`None` for a write that concerns
/// no scope) and its trajectory, of which the larger counts. A remembered fence of 0 was never
/// used.
///
/// # Errors
/// 22023 for a fence given that is not positive.
pub fn check(given: Option<i64>, scope: Option<i64>, trajectory: i64) -> CaliberResult<Decision> {
    let current = scope.map_or(trajectory, |scope| scope.max(trajectory));
    Ok(match given {
        Some(fence) if fence <= 0 => {
            return Err(CaliberError::argument("fence", format!("{fence} is not positive.")));
        }
        None if current > 0 => Decision::Missing { current },
        Some(fence) if fence < current => Decision::Stale { current },
        Some(fence) if fence > current => Decision::Prove { current },
        None | Some(_) => Decision::Pass,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_fences_nobody_needs_one() {
        assert_eq!(check(None, None, 0), Ok(Decision::Pass));
        assert_eq!(check(None, Some(0), 0), Ok(Decision::Pass));
    }

    #[test]
    fn the_larger_of_scope_and_trajectory_counts() {
        for (scope, trajectory) in [(Some(7), 3), (Some(3), 7), (None, 7)] {
            let check = |given| check(given, scope, trajectory).unwrap();
            assert_eq!(check(None), Decision::Missing { current: 7 });
            assert_eq!(check(Some(6)), Decision::Stale { current: 7 });
            assert_eq!(check(Some(7)), Decision::Pass);
            assert_eq!(check(Some(8)), Decision::Prove { current: 7 });
        }
    }

    #[test]
    fn a_fence_is_positive() {
        for given in [0, -1, i64::MIN] {
            let error = check(Some(given), Some(0), 0).unwrap_err();
            assert_eq!(error.sqlstate(), "22023");
            assert_eq!(error.detail().unwrap(), format!("{given} is not positive."));
        }
    }

    proptest! {
        #![proptest_config(crate::property_tests())]

        #[test]
        fn only_the_current_fence_passes_unproven(
            given in proptest::option::of(1..9i64),
            scope in proptest::option::of(0..9i64),
            trajectory in 0..9i64,
        ) {
            let current = trajectory.max(scope.unwrap_or(0));
            let passes = check(given, scope, trajectory) == Ok(Decision::Pass);
            prop_assert_eq!(passes, given.unwrap_or(0) == current);
        }
    }
}
