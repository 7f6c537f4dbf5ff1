//! Compiles `schemas/` with protox, so that nobody needs a protoc.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../schemas";
    let files = ["parley/events/v1/events.proto", "parley/commands/v1/commands.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={root}/{file}");
    }
    let descriptors = protox::compile(files.map(|file| format!("{root}/{file}")), [root])?;
    // For reflection.
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Parts of what they are decoded from, without a copy.
        .bytes(".parley.events.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
