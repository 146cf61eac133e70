//! # The binary

fn main() -> std::process::ExitCode {
    guestreq::main()
}
