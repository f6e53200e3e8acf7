//! Who may ask an HTTP server on this machine: API, collector and simulator alike. Reads and writes nothing.
//!
//! ```text
//!  address of a connection --places--> has one | all are taken | too many of this address
//!  head of a request       --gate----> may be answered | another name | a page of others
//!  `Host`, local address   --address-> where clients find this server again
//! ```
#![forbid(unsafe_code)]

mod address;
mod gate;
mod places;

pub use address::{reachable, reached_by};
pub use gate::{Asked, Gate, Refused};
pub use places::{Full, OfAddress, OfAll, Place, Places, group};
