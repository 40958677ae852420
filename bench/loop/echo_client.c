// The load for the servers that are measured: one process, one thread, epoll, so that it is never the slower side.
//
//   echo_client MODE TARGET SIZE CONNECTIONS WARM_SECONDS SECONDS SERVER_PID
//
// MODE    echo      each connection sends SIZE bytes, waits for SIZE bytes, and again
//         connect   the same once per connection, then closes it and opens the next
//         accept    opens a connection, waits for the server to close it, opens the next
//         send      writes without pause, reads nothing; a request is 1 MiB written
//         receive   reads without pause, writes nothing; a request is 1 MiB read
// TARGET  tcp:PORT | tls:PORT | udp:PORT (127.0.0.1), unix:PATH, fd:NUMBER,NUMBER,... (inherited, connected)
//
// After the warm-up it counts for SECONDS and prints one line of JSON: requests, seconds, the CPU seconds that the server's
// process and this one took meanwhile, and the p50 and p99 of the time of a request. The server's clock is read here,
// at the very moments at which counting begins and ends. A datagram that is lost is sent again after 200 ms.
// Ends with status 1 and a word on stderr at any error: a measurement with errors is none.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

enum mode { ECHO, CONNECT, ACCEPT, SEND, RECEIVE };
enum kind { TCP, TLS, UDP, UNIX, FD };

struct connection {
  int fd;
  size_t sent, received;  // of the request under way
  double began;
#ifdef WITH_TLS
  SSL* ssl;
#endif
};

static enum mode mode;
static enum kind kind;
static const char* target;  // what follows the colon
static size_t size;
static char* out;
static char in[1 << 18];
static int epoll;
static double* times;
static size_t requests, moved, times_size;
static int counting;
#ifdef WITH_TLS
static SSL_CTX* tls;
#endif

static void fail(const char* what) {
  fprintf(stderr, "echo_client: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double clock_of(clockid_t clock) {
  struct timespec t;
  if (clock_gettime(clock, &t) < 0) fail("clock_gettime");
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static double now(void) { return clock_of(CLOCK_MONOTONIC); }

static int dial(void) {
  if (kind == UNIX) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strncpy(a.sun_path, target, sizeof a.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr*)&a, sizeof a) < 0) fail("connect");
    return fd;
  }
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(target))};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, kind == UDP ? SOCK_DGRAM : SOCK_STREAM, 0), one = 1;
  if (fd < 0 || connect(fd, (struct sockaddr*)&a, sizeof a) < 0) fail("connect");
  if (kind != UDP) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

// Connected, for TLS also shaken hands, non-blocking and watched. fd is -1, or the descriptor to take.
static void open_connection(struct connection* c, int fd) {
  c->fd = fd >= 0 ? fd : dial();
#ifdef WITH_TLS
  if (kind == TLS) {
    if (!(c->ssl = SSL_new(tls)) || !SSL_set_fd(c->ssl, c->fd) || SSL_connect(c->ssl) != 1) fail("TLS handshake");
  }
#endif
  if (fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK) < 0) fail("fcntl");
  struct epoll_event e = {.events = mode == SEND ? EPOLLOUT : EPOLLIN, .data.ptr = c};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e) < 0) fail("epoll_ctl");
}

static void close_connection(struct connection* c) {
#ifdef WITH_TLS
  if (kind == TLS) {
    SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
  }
#endif
  close(c->fd);
}

// Bytes moved; 0 when it would block; -1 at the end of the stream.
static ssize_t move(struct connection* c, int sending, char* data, size_t length) {
#ifdef WITH_TLS
  if (kind == TLS) {
    int n = sending ? SSL_write(c->ssl, data, (int)length) : SSL_read(c->ssl, data, (int)length);
    if (n > 0) return n;
    int why = SSL_get_error(c->ssl, n);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return 0;
    if (why == SSL_ERROR_ZERO_RETURN) return -1;
    fail("TLS");
  }
#endif
  ssize_t n = sending ? send(c->fd, data, length, MSG_NOSIGNAL) : recv(c->fd, data, length, 0);
  if (n == 0 && !sending) return -1;
  if (n >= 0) return n;
  if (errno == EAGAIN || errno == EINTR) return 0;
  fail(sending ? "send" : "recv");
  return 0;
}

static void watch(struct connection* c, uint32_t events) {
  struct epoll_event e = {.events = events, .data.ptr = c};
  if (epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e) < 0) fail("epoll_ctl");
}

// Sends what is left of the request. What does not fit is sent when the socket takes more; answers are read meanwhile.
static void push(struct connection* c) {
  while (c->sent < size) {
    ssize_t n = move(c, 1, out + c->sent, size - c->sent);
    if (n == 0) {
      watch(c, EPOLLIN | EPOLLOUT);
      return;
    }
    c->sent += (size_t)n;
    if (c->sent == size && (size_t)n != size) watch(c, EPOLLIN);
  }
}

static void begin(struct connection* c) {
  c->sent = c->received = 0;
  c->began = now();
  if (mode == ECHO || mode == CONNECT) push(c);
}

static void done(struct connection* c) {
  if (counting) {
    if (requests < times_size) times[requests] = now() - c->began;
    requests++;
  }
  if (mode != ECHO) {
    close_connection(c);
    c->began = now();
    double began = c->began;
    open_connection(c, -1);
    begin(c);
    c->began = began;  // connecting belongs to the request
    return;
  }
  begin(c);
}

static void ready(struct connection* c, uint32_t events) {
  if (mode == SEND || mode == RECEIVE) {
    ssize_t n = move(c, mode == SEND, mode == SEND ? out : in, mode == SEND ? size : sizeof in);
    if (n < 0) fail("the server closed");
    if (counting) moved += (size_t)n;
    return;
  }
  if ((events & EPOLLOUT) && c->sent < size) push(c);
  for (;;) {  // TLS may hold decrypted bytes that epoll does not know of
    ssize_t n = move(c, 0, in, sizeof in);
    if (n == 0) return;
    if (n < 0) {
      if (mode != ACCEPT) fail("the server closed");
      done(c);
      return;
    }
    c->received += (size_t)n;
    if (mode != ACCEPT && c->received >= size) {
      done(c);
      return;
    }
    if (kind != TLS) return;
  }
}

static void run_until(double end, struct connection* all, int count) {
  struct epoll_event events[128];
  while (now() < end) {
    int n = epoll_wait(epoll, events, 128, 200);
    if (n < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < n; i++) ready(events[i].data.ptr, events[i].events);
    if (kind == UDP && n == 0)
      for (int i = 0; i < count; i++) begin(&all[i]);
  }
}

static int ascending(const void* a, const void* b) {
  double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static enum mode mode_of(const char* name) {
  const char* names[] = {"echo", "connect", "accept", "send", "receive"};
  for (int i = 0; i < 5; i++)
    if (!strcmp(name, names[i])) return (enum mode)i;
  errno = EINVAL;
  fail(name);
  return ECHO;
}

static enum kind kind_of(const char* name) {
  const char* names[] = {"tcp:", "tls:", "udp:", "unix:", "fd:"};
  for (int i = 0; i < 5; i++)
    if (!strncmp(name, names[i], strlen(names[i]))) return (enum kind)i;
  errno = EINVAL;
  fail(name);
  return TCP;
}

int main(int argc, char** argv) {
  if (argc != 8) {
    fprintf(stderr, "usage: echo_client MODE TARGET SIZE CONNECTIONS WARM_SECONDS SECONDS SERVER_PID\n");
    return 1;
  }
  mode = mode_of(argv[1]);
  kind = kind_of(argv[2]);
  target = strchr(argv[2], ':') + 1;
  size = (size_t)atol(argv[3]);
  int count = atoi(argv[4]);
  double warm = atof(argv[5]), seconds = atof(argv[6]);
  clockid_t server;
  if (clock_getcpuclockid(atoi(argv[7]), &server) != 0) fail("clock_getcpuclockid");
  signal(SIGPIPE, SIG_IGN);
  if (kind == TLS) {
#ifdef WITH_TLS
    tls = SSL_CTX_new(TLS_client_method());
    if (!tls) fail("SSL_CTX_new");
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
#else
    fprintf(stderr, "echo_client: compiled without OpenSSL's headers: no TLS\n");
    return 1;
#endif
  }
  times_size = 1 << 20;
  out = malloc(size + 1);
  times = malloc(times_size * sizeof *times);
  struct connection* all = calloc((size_t)count, sizeof *all);
  if (!out || !times || !all) fail("malloc");
  memset(out, 'x', size);
  if (size) out[size - 1] = '\n';  // so that a server may also read lines
  if ((epoll = epoll_create1(0)) < 0) fail("epoll_create1");
  char* next = (char*)target;
  for (int i = 0; i < count; i++) {
    open_connection(&all[i], kind == FD ? (int)strtol(next, &next, 10) : -1);
    if (*next == ',') next++;
  }
  for (int i = 0; i < count; i++) begin(&all[i]);

  run_until(now() + warm, all, count);
  counting = 1;
  double start = now(), server_start = clock_of(server), own_start = clock_of(CLOCK_PROCESS_CPUTIME_ID);
  run_until(start + seconds, all, count);
  double took = now() - start, server_took = clock_of(server) - server_start;
  double own_took = clock_of(CLOCK_PROCESS_CPUTIME_ID) - own_start;

  double total = mode == SEND || mode == RECEIVE ? (double)moved / (1 << 20) : (double)requests;
  size_t known = requests < times_size ? requests : times_size;
  qsort(times, known, sizeof *times, ascending);
  printf("{\"requests\": %.3f, \"seconds\": %.6f, \"server_cpu\": %.6f, \"client_cpu\": %.6f", total, took, server_took, own_took);
  if (known) printf(", \"p50_us\": %.2f, \"p99_us\": %.2f", times[known / 2] * 1e6, times[known * 99 / 100] * 1e6);
  printf("}\n");
  return 0;
}
