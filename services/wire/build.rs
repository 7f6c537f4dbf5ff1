//! Compiles `schemas/` with protox, so that nobody needs a protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../schemas";
    let files = ["parley/events/v1/events.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={root}/{file}");
    }
    let descriptors = protox::compile(files.map(|file| format!("{root}/{file}")), [root])?;
    prost_build::Config::new().bytes([".parley.events.v1.MessageSent.sealed"]).compile_fds(descriptors)?;
    Ok(())
}
