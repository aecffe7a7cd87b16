#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pipeline::fuzz_sensor(data));
