//! What processes run that are attached to: /proc tells, as no program saw them execute it.

use memtrace_ebpf::{
    COMM_LEN, ProcessFlags,
    event::{ARGS_LEN, EXEC, Exec, Fork, Header, PATH_LEN},
};

use crate::{attend::View, event::Event, model::Program, ptrace};

/// A record of what the process runs, as if it had just executed that in the address space that it has, if the
/// event tells of one that ran before and /proc still knows it.
pub(super) fn of_attached(view: View, event: &Event) -> Option<Event> {
    let Event::Fork(fork) = event else {
        return None;
    };
    if fork.flags & ProcessFlags::ATTACHED == 0 || fork.image == 0 {
        return None;
    }
    let pid = view.pid_of(fork.tgid, fork.started_at)?;
    let program = ptrace::program(pid);
    // Not what runs under this number by now.
    view.pid_of(fork.tgid, fork.started_at)?;
    Some(Event::Exec(Box::new(record(fork, &program))))
}

fn record(fork: &Fork, program: &Program) -> Exec {
    let mut exec = Exec {
        header: Header {
            kind: EXEC,
            ..fork.header
        },
        process: fork.process,
        tgid: fork.tgid,
        old_tid: fork.tgid,
        image: fork.image,
        old_image: 0,
        maxrss: 0,
        args_total: 0,
        args_len: 0,
        path_len: 0,
        reserved: 0,
        comm: [0; COMM_LEN],
        path: [0; PATH_LEN],
        args: [0; ARGS_LEN],
    };
    copy(&mut exec.comm, &program.comm);
    exec.path_len = copy(&mut exec.path, &ended(std::slice::from_ref(&program.path)));
    let args = ended(&program.args);
    let more = u32::from(program.truncated);
    exec.args_total = u32::try_from(args.len())
        .unwrap_or(u32::MAX)
        .saturating_add(more);
    exec.args_len = copy(&mut exec.args, &args);
    exec
}

/// Each with a NUL behind it.
fn ended(words: &[Vec<u8>]) -> Vec<u8> {
    words
        .iter()
        .flat_map(|word| [word, &b"\0"[..]].concat())
        .collect()
}

/// Copies as much as there is room for; how much that was.
fn copy(to: &mut [u8], from: &[u8]) -> u32 {
    let length = to.len().min(from.len());
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use memtrace_ebpf::event::{FORK, Fork, Header};

    use super::{ARGS_LEN, COMM_LEN, Program, record};

    fn fork() -> Fork {
        Fork {
            header: Header {
                kind: FORK,
                tree: 3,
                at: 9,
            },
            process: 5,
            creator_process: 0,
            tgid: 7,
            ns_tgid: 7,
            creator: 1,
            flags: 16,
            image: 11,
            started_at: 2,
            inherited: 4,
            comm: [0; COMM_LEN],
        }
    }

    #[test]
    fn what_it_runs_is_told_as_the_programs_tell_it() {
        let exec = record(
            &fork(),
            &Program {
                args: vec![b"cat".to_vec(), Vec::new(), b"-".to_vec()],
                truncated: false,
                path: b"/bin/cat".to_vec(),
                comm: b"cat".to_vec(),
            },
        );
        assert_eq!((exec.process, exec.image, exec.header.at), (5, 11, 9));
        assert_eq!((exec.args_total, exec.args_len, exec.path_len), (7, 7, 9));
        assert_eq!(exec.args.get(..7).unwrap(), b"cat\0\0-\0");
        assert_eq!(exec.path.get(..9).unwrap(), b"/bin/cat\0");
    }

    #[test]
    fn long_arguments_are_cut_and_said_to_be() {
        let exec = record(
            &fork(),
            &Program {
                args: vec![vec![b'x'; ARGS_LEN]],
                ..Program::default()
            },
        );
        assert_eq!(exec.args_len as usize, ARGS_LEN);
        assert!(exec.args_total > exec.args_len);
    }
}
