//! Operations measured by many calls in one statement, in one transaction: no row is touched twice.

use crate::bench::operation::{IdSet, Operation, Peer, Work};

const TURNS: IdSet = IdSet {
    name: "turn_ids",
    source: "SELECT turn_id AS id FROM caliber.caliber_turn",
    share: (1000, 1_000_000),
    batch: 1000,
    again: 1,
    per_call: 1,
    returns: 1,
};

const WARM: IdSet = IdSet {
    name: "warm_ids",
    source: "SELECT turn_id AS id FROM caliber.caliber_turn",
    share: (1000, 2000),
    batch: 2000,
    again: 50,
    per_call: 1,
    returns: 1,
};

const LISTED: IdSet = IdSet {
    name: "list_ids",
    source: "SELECT id FROM bench.scope WHERE listed",
    share: (1, 1000),
    batch: 10,
    again: 10,
    per_call: 1,
    returns: 100,
};

const SCOPES: IdSet = IdSet {
    name: "scope_ids",
    source: "SELECT id FROM bench.scope WHERE NOT listed",
    share: (100, 100_000),
    batch: 1000,
    again: 1,
    per_call: 1,
    returns: 1,
};

const MANY: IdSet = IdSet {
    name: "many_ids",
    source: "SELECT id FROM bench.scope WHERE NOT listed",
    share: (5, 5000),
    batch: 50,
    again: 1,
    per_call: 20,
    returns: 20,
};

const SENDERS: IdSet = IdSet {
    name: "sender_ids",
    source: "SELECT agent_id AS id FROM caliber.caliber_agent",
    share: (5, 5000),
    batch: 50,
    again: 1,
    per_call: 20,
    returns: 20,
};

const TRAJECTORIES: IdSet = IdSet {
    name: "trajectory_ids",
    source: "SELECT trajectory_id AS id FROM caliber.caliber_trajectory",
    share: (100, 100_000),
    batch: 1000,
    again: 1,
    per_call: 1,
    returns: 1,
};

const AGENTS: IdSet = IdSet {
    name: "agent_ids",
    source: "SELECT agent_id AS id FROM caliber.caliber_agent",
    share: (100, 100_000),
    batch: 1000,
    again: 1,
    per_call: 1,
    returns: 1,
};

/// The sets of ids, to be made before anything is measured.
pub static ID_SETS: [&IdSet; 8] =
    [&TURNS, &WARM, &LISTED, &SCOPES, &MANY, &SENDERS, &TRAJECTORIES, &AGENTS];

/// A row by its id, each id once.
pub const GET: Operation = Operation {
    name: "get",
    work: Work::Calls(&TURNS),
    vacuum: &[],
    grows: &[],
    peers: &[
        Peer {
            name: "api",
            sql: "SELECT count(caliber_turn_get(id)) FROM bench.turn_ids WHERE batch = b",
        },
        Peer {
            name: "executor",
            sql:
                "SELECT count(t) FROM bench.turn_ids i JOIN peer.caliber_turn t ON t.turn_id = i.id
                WHERE i.batch = b",
        },
        Peer {
            name: "plpgsql",
            sql: "SELECT count(peer.turn_get(id)) FROM bench.turn_ids WHERE batch = b",
        },
        Peer {
            name: "spi",
            sql: "SELECT count(peer.spi_turn_get(id)) FROM bench.turn_ids WHERE batch = b",
        },
        // What of all these times is the statement around the calls.
        Peer { name: "loop", sql: "SELECT count(id) FROM bench.turn_ids WHERE batch = b" },
    ],
};

/// A row by its id, few ids again and again.
pub const GET_WARM: Operation = Operation {
    name: "get_warm",
    work: Work::Calls(&WARM),
    vacuum: &[],
    grows: &[],
    peers: &[
        Peer {
            name: "api",
            sql: "SELECT count(caliber_turn_get(id)) FROM bench.warm_ids WHERE batch = b",
        },
        Peer {
            name: "executor",
            sql:
                "SELECT count(t) FROM bench.warm_ids i JOIN peer.caliber_turn t ON t.turn_id = i.id
                WHERE i.batch = b",
        },
        Peer {
            name: "plpgsql",
            sql: "SELECT count(peer.turn_get(id)) FROM bench.warm_ids WHERE batch = b",
        },
        Peer {
            name: "spi",
            sql: "SELECT count(peer.spi_turn_get(id)) FROM bench.warm_ids WHERE batch = b",
        },
    ],
};

/// As [`GET`], a thousand ids with one call; beside it, a call for each.
pub const GET_MANY: Operation = Operation {
    name: "get_many",
    work: Work::Calls(&TURNS),
    vacuum: &[],
    grows: &[],
    peers: &[
        Peer {
            name: "api",
            sql: "SELECT count(turn_id) FROM caliber_turn_get_many(
                (SELECT array_agg(id) FROM bench.turn_ids WHERE batch = b))",
        },
        Peer {
            name: "each",
            sql: "SELECT count(caliber_turn_get(id)) FROM bench.turn_ids WHERE batch = b",
        },
    ],
};

/// The 100 rows of a list, in the select list.
pub const LIST: Operation = Operation {
    name: "list100",
    work: Work::Calls(&LISTED),
    vacuum: &[],
    grows: &[],
    peers: &[
        Peer {
            name: "api",
            sql: "SELECT count(t) FROM (SELECT caliber_turn_get_by_scope(id) AS t
                FROM bench.list_ids WHERE batch = b) x",
        },
        Peer {
            name: "executor",
            sql: "SELECT count(t) FROM bench.list_ids i, LATERAL (
                    SELECT t FROM peer.caliber_turn t WHERE t.scope_id = i.id AND t.sequence > -1
                    ORDER BY t.sequence LIMIT 100) x (t)
                WHERE i.batch = b",
        },
        Peer {
            name: "plpgsql",
            sql: "SELECT count(t) FROM (SELECT peer.turn_list(id) AS t
                FROM bench.list_ids WHERE batch = b) x",
        },
        Peer {
            name: "spi",
            sql: "SELECT count(t) FROM (SELECT peer.spi_turn_list(id) AS t
                FROM bench.list_ids WHERE batch = b) x",
        },
    ],
};

/// A turn appended to a scope, each call to another one.
pub const APPEND: Operation = Operation {
    name: "append",
    work: Work::Calls(&SCOPES),
    vacuum: &["caliber_scope", "caliber_turn"],
    grows: &["caliber_turn"],
    peers: &[
        Peer {
            name: "api",
            sql: "SELECT count(caliber_turn_create(id, 'user', 'a message of some words', 8))
                FROM bench.scope_ids WHERE batch = b",
        },
        // The sequence numbers come from the UPDATE: looking them up again would cost more.
        Peer {
            name: "executor",
            sql: "WITH charged AS (
                    UPDATE peer.caliber_scope s
                    SET tokens_used = tokens_used + 8, turn_count = turn_count + 1
                    FROM bench.scope_ids i
                    WHERE i.batch = b AND s.scope_id = i.id AND s.is_active
                        AND s.tokens_used + 8 <= s.token_budget
                    RETURNING s.scope_id, s.turn_count - 1 AS sequence),
                stored AS (
                    INSERT INTO peer.caliber_turn (scope_id, sequence, role, content, token_count)
                    SELECT scope_id, sequence, 'user', 'a message of some words', 8 FROM charged
                    RETURNING turn_id)
                SELECT count(turn_id) FROM stored",
        },
        Peer {
            name: "plpgsql",
            sql: "SELECT count(peer.turn_create(id, 'user', 'a message of some words', 8))
                FROM bench.scope_ids WHERE batch = b",
        },
        Peer {
            name: "spi",
            sql: "SELECT count(peer.spi_turn_create(id, 'user', 'a message of some words', 8))
                FROM bench.scope_ids WHERE batch = b",
        },
    ],
};

/// Twenty messages appended to one scope, for each message.
pub const APPEND_MANY: Operation = Operation {
    name: "append_many",
    work: Work::Calls(&MANY),
    vacuum: &["caliber_scope", "caliber_turn"],
    grows: &["caliber_turn"],
    peers: &[
        Peer {
            name: "api",
            sql: "SELECT count(t) FROM (SELECT caliber_turn_append_many(id, bench.messages()) AS t
                FROM bench.many_ids WHERE batch = b) x",
        },
        Peer {
            name: "plpgsql",
            sql: "SELECT count(t) FROM (SELECT peer.turn_append_many(id, bench.messages()) AS t
                FROM bench.many_ids WHERE batch = b) x",
        },
        Peer {
            name: "spi",
            sql: "SELECT count(t) FROM (SELECT peer.spi_turn_append_many(id, bench.messages()) AS t
                FROM bench.many_ids WHERE batch = b) x",
        },
    ],
};

/// Twenty messages to one agent with one call; beside it, a call for each.
pub const SEND_MANY: Operation = Operation {
    name: "send_many",
    work: Work::Calls(&SENDERS),
    vacuum: &["caliber_message"],
    grows: &["caliber_message"],
    peers: &[
        Peer {
            name: "api",
            sql: "SELECT count(m) FROM (
                SELECT caliber_message_send_many(id, 'context_share', array_fill('{\"go\": 1}'::jsonb, '{20}'),
                    to_agent_id => id) AS m
                FROM bench.sender_ids WHERE batch = b) x",
        },
        Peer {
            name: "each",
            sql: "SELECT count(caliber_message_send(id, 'context_share', '{\"go\": 1}', to_agent_id => id))
                FROM bench.sender_ids, generate_series(1, 20) WHERE batch = b",
        },
    ],
};

/// A trajectory suspended, or made active again: an indexed column changes.
pub const SET_STATUS: Operation = Operation {
    name: "set_status",
    work: Work::Calls(&TRAJECTORIES),
    vacuum: &["caliber_trajectory"],
    grows: &[],
    peers: &[
        Peer {
            name: "api",
            sql: "SELECT count(caliber_trajectory_set_status(id, wanted))
                FROM bench.trajectory_ids WHERE batch = b",
        },
        Peer {
            name: "executor",
            sql: "UPDATE peer.caliber_trajectory t
                SET status = wanted, completed_at = NULL,
                    updated_at = now(), version = version + 1
                FROM bench.trajectory_ids i
                WHERE i.batch = b AND t.trajectory_id = i.id
                    AND t.status IN ('active', 'suspended')",
        },
        Peer {
            name: "plpgsql",
            sql: "SELECT count(peer.set_status(id, wanted))
                FROM bench.trajectory_ids WHERE batch = b",
        },
        Peer {
            name: "spi",
            sql: "SELECT count(peer.spi_set_status(id, wanted::text))
                FROM bench.trajectory_ids WHERE batch = b",
        },
    ],
};

/// The heartbeat of an agent: an update that touches no index.
pub const HEARTBEAT: Operation = Operation {
    name: "heartbeat",
    work: Work::Calls(&AGENTS),
    vacuum: &["caliber_agent"],
    grows: &[],
    peers: &[
        Peer {
            name: "api",
            sql: "SELECT count(caliber_agent_heartbeat(id)) FROM bench.agent_ids WHERE batch = b",
        },
        Peer {
            name: "executor",
            sql: "UPDATE peer.caliber_agent a SET last_heartbeat = clock_timestamp()
                FROM bench.agent_ids i WHERE i.batch = b AND a.agent_id = i.id",
        },
        Peer {
            name: "plpgsql",
            sql: "SELECT count(peer.heartbeat(id)) FROM bench.agent_ids WHERE batch = b",
        },
        Peer {
            name: "spi",
            sql: "SELECT count(peer.spi_heartbeat(id)) FROM bench.agent_ids WHERE batch = b",
        },
    ],
};
