//! The instruction sets of guests, and what is called differently on each.

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Arch {
    /// The one that this is built and run on; guests take its programs.
    Amd64,
    /// Programs for it come from a cross compiler and Debian's packages.
    Arm64,
}

impl Arch {
    /// Debian's name of it.
    pub(crate) const fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Rust's name of Linux with glibc on it.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// What emulates it, and the package that has that.
    pub(crate) const fn emulator(self) -> (&'static str, &'static str) {
        match self {
            Self::Amd64 => ("qemu-system-x86_64", "qemu-system-x86"),
            Self::Arm64 => ("qemu-system-aarch64", "qemu-system-arm"),
        }
    }

    /// The emulated machine: its processor and the ports of the chardevs `console` and `results`.
    pub(crate) const fn machine(self) -> &'static [&'static str] {
        match self {
            Self::Amd64 => &[
                // On QEMU 7.2, five-level page tables kill 6.12 early, and an emulated
                // cmpxchg16b now and then leaves a pointer in EFLAGS, which kills it later.
                "-cpu",
                "max,la57=off,cx16=off",
                "-serial",
                "chardev:console",
                "-serial",
                "chardev:results",
            ],
            Self::Arm64 => &[
                "-machine",
                "virt,gic-version=3",
                // Emulated pointer authentication computes a cipher at every call.
                "-cpu",
                "max,pauth=off",
                "-serial",
                "chardev:console",
                // This machine has one serial port.
                "-device",
                "virtio-serial-pci",
                "-device",
                "virtconsole,chardev=results",
            ],
        }
    }

    /// Where the kernel's words go.
    pub(crate) const fn console(self) -> &'static str {
        match self {
            Self::Amd64 => "ttyS0",
            Self::Arm64 => "ttyAMA0",
        }
    }

    /// Where the tests' words go, once the modules are there.
    pub(crate) const fn results(self) -> &'static str {
        match self {
            Self::Amd64 => "/dev/ttyS1",
            Self::Arm64 => "/dev/hvc0",
        }
    }
}
