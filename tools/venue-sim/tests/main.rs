//! The simulator over real sockets. One binary: each would link the simulator again.

mod access;
mod binary;
mod client;
mod closes;
mod faults;
mod gate;
mod kucoin;
mod limits;
mod listing;
mod loopback;
mod sbe;
mod trades;
