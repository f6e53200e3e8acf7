//! Fuzz target: everything a venue reads from outside (decode, control, stream of a frame, listing, token, REST
//! bodies), all venues, chosen by the first byte. What is checked is said in `src/venue/hostile_input`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = venue::hostile_input::exercise(input);
});
