//! What archives may hold: nothing leaves them, nothing in them ends an ingest, and what is not taken has its reason.
