#![cfg_attr(fuzzing, no_main)]

jetstream_fuzz::target!(jetstream_fuzz::webtransport::run);
