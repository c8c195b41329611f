// Where every thread is when the process is told to abort, as the service manager's watchdog does with one that hangs.
//
// One thread after the other prints its own stack to stderr: libraries by name, offsets within them, symbols where there
// are any (addr2line tells the rest). Only calls that a signal handler may make are made, but for the unwinder, which
// allocated all it needs when the handler was installed. A thread that does not answer is passed over. Then the process
// ends as it would have.

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include <execinfo.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr int FRAMES = 64;
// How long a thread may take to print its stack.
constexpr int PATIENCE_MS = 200;

std::atomic<bool> printed{false};

int ask_signal() { return SIGRTMIN + 5; }

void say(const char *text) {
  ssize_t ignored = write(STDERR_FILENO, text, std::strlen(text));
  (void)ignored;
}

void print_own_stack() {
  void *frames[FRAMES];
  char name[32] = {0};
  prctl(PR_GET_NAME, name);
  say("stack of thread ");
  say(name);
  say(":\n");
  backtrace_symbols_fd(frames, backtrace(frames, FRAMES), STDERR_FILENO);
}

void on_ask(int) {
  const int kept = errno;
  print_own_stack();
  printed.store(true);
  errno = kept;
}

void ask(pid_t process, pid_t thread) {
  printed.store(false);
  if (syscall(SYS_tgkill, process, thread, ask_signal()) != 0) {
    return;
  }
  for (int waited = 0; waited < PATIENCE_MS && !printed.load(); ++waited) {
    const timespec millisecond = {0, 1000000};
    nanosleep(&millisecond, nullptr);
  }
}

struct Entry {
  unsigned long inode;
  long offset;
  unsigned short length;
  unsigned char kind;
  char name[];
};

void ask_the_others() {
  const pid_t process = getpid();
  const pid_t self = static_cast<pid_t>(syscall(SYS_gettid));
  const int folder = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) {
    return;
  }
  alignas(Entry) static char buffer[32768];
  long length;
  while ((length = syscall(SYS_getdents64, folder, buffer, sizeof buffer)) > 0) {
    for (long at = 0; at < length;) {
      const Entry *entry = reinterpret_cast<const Entry *>(buffer + at);
      const pid_t thread = std::atoi(entry->name);
      if (thread > 0 && thread != self) {
        ask(process, thread);
      }
      at += entry->length;
    }
  }
  close(folder);
}

void on_abort(int) {
  // A second one, by a thread that aborts meanwhile, ends the process at once.
  std::signal(SIGABRT, SIG_DFL);
  say("told to abort; this is where every thread is:\n");
  print_own_stack();
  ask_the_others();
  std::raise(SIGABRT);
}

void install(int signal, void (*handler)(int)) {
  struct sigaction action;
  std::memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

} // namespace

extern "C" void azt_print_stacks_on_abort() {
  void *frame[1];
  // The first call loads the unwinder, which allocates.
  backtrace(frame, 1);
  install(ask_signal(), on_ask);
  install(SIGABRT, on_abort);
}
