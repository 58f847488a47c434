//! Operations of several calls, each in a transaction of its own: leases and messages belong to
//! everybody, so nobody makes two of them in one transaction.

use crate::bench::operation::{Operation, Peer, Work};

/// Cycles of a batch.
pub const BATCH: i32 = 100;
/// For how many rows there is one batch, and the most batches.
pub const BATCHES: (i32, i32) = (5000, 50);

/// A lease taken and given back.
pub const LOCK: Operation = Operation {
    name: "lock_cycle",
    work: Work::Cycles("done IS NOT TRUE"),
    vacuum: &["caliber_lock"],
    grows: &[],
    peers: &[
        Peer {
            name: "api",
            sql: "lease := caliber_lock_acquire(self, 'file', other, '1 minute');
                COMMIT;
                done := caliber_lock_release(lease.lock_id, lease.fence);
                COMMIT;",
        },
        Peer {
            name: "plpgsql",
            sql: "lease := peer.lock_acquire(self, 'file', other, '1 minute');
                COMMIT;
                done := peer.lock_release(lease.lock_id, lease.fence);
                COMMIT;",
        },
        Peer {
            name: "spi",
            sql: "lease := peer.spi_lock_acquire(self, 'file', other, '1 minute');
                COMMIT;
                done := peer.spi_lock_release(lease.lock_id, lease.fence);
                COMMIT;",
        },
    ],
};

/// A message sent, received and acknowledged.
pub const MESSAGE: Operation = Operation {
    name: "message_cycle",
    work: Work::Cycles(
        "message.message_id IS DISTINCT FROM new_id OR message.status <> 'acknowledged'",
    ),
    vacuum: &["caliber_message"],
    grows: &["caliber_message"],
    peers: &[
        Peer {
            name: "api",
            sql:
                "new_id := caliber_message_send(self, 'coordination_signal', '{\"go\": 1}', other);
                COMMIT;
                SELECT * INTO message FROM caliber_message_receive(other, 1, '1 minute');
                COMMIT;
                message := caliber_message_acknowledge(message.message_id, other,
                    message.delivery_count);
                COMMIT;",
        },
        Peer {
            name: "plpgsql",
            sql: "new_id := peer.message_send(self, 'coordination_signal', '{\"go\": 1}', other);
                COMMIT;
                SELECT * INTO message FROM peer.message_receive(other, 1, '1 minute');
                COMMIT;
                message := peer.message_acknowledge(message.message_id, other,
                    message.delivery_count);
                COMMIT;",
        },
        Peer {
            name: "spi",
            sql:
                "new_id := peer.spi_message_send(self, 'coordination_signal', '{\"go\": 1}', other);
                COMMIT;
                SELECT * INTO message FROM peer.spi_message_receive(other, 1, '1 minute');
                COMMIT;
                message := peer.spi_message_acknowledge(message.message_id, other,
                    message.delivery_count);
                COMMIT;",
        },
    ],
};
