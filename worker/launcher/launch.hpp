#pragma once

namespace pyw::launcher {

/// `py_launcher WORKER [ARGS...]`: runs WORKER between the frame pipes 3 and 4, waits for its end, leaves nothing of it behind,
/// and writes the report. Returns the exit status: the worker's, or 128 + its signal; 127 when it could not be started.
///
/// Promises:
/// - HELLO is the first frame, before the worker has run one instruction of its own.
/// - The worker is killed when the BEAM is gone or has closed the port, and when somebody asks with SIGTERM, SIGINT, SIGQUIT, SIGHUP.
/// - 3 and 4 are closed last: who reads the end of 4 finds a whole report and no process of the worker.
/// - While nothing happens it sleeps in one poll without a timer. Frames that pass do not wake it.
/// What it cannot: survive its own SIGKILL. Then the worker dies with it, but what the worker started lives on.
int launch(char* const argv[]);

}  // namespace pyw::launcher
