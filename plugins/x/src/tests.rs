//! The connector against a pretend X over real HTTP, and against answers that X gives on bad days.

mod events;
mod network;
mod outbound;
mod stand;
