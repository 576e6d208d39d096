/* libuv with one buffer for all reads, and writes that are tried at once. `net-libuv MODE` prints its port and serves
 * until it is killed. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { REQUEST = 64, PIECES = 32, BACKLOG = 4096 };
static char piece[] = "sixteen bytes.\r\n";
static char buffer[64 << 10];
static enum { MODE_ECHO, MODE_CHURN, MODE_CHATTY, MODE_BROADCAST } mode;

typedef struct connection {
  uv_tcp_t handle;
  size_t bytes;
  struct connection *next, **at;
} connection;
static connection *first;

typedef struct {
  uv_write_t request;
  char bytes[];
} pending;

static void free_pending(uv_write_t *request, int status) {
  (void)status;
  free(request);
}

static void write_to(uv_stream_t *stream, char *bytes, size_t length) {
  uv_buf_t out = uv_buf_init(bytes, (unsigned)length);
  int written = uv_try_write(stream, &out, 1);
  if (written < 0 && written != UV_EAGAIN) return;
  size_t done = written < 0 ? 0 : (size_t)written;
  if (done == length) return;
  pending *rest = malloc(sizeof *rest + length - done);
  if (!rest) abort();
  memcpy(rest->bytes, bytes + done, length - done);
  out = uv_buf_init(rest->bytes, (unsigned)(length - done));
  if (uv_write(&rest->request, stream, &out, 1, free_pending)) free(rest);
}

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
  (void)handle;
  (void)suggested;
  *out = uv_buf_init(buffer, sizeof buffer);
}

static void on_close(uv_handle_t *handle) {
  connection *it = (connection *)handle;
  *it->at = it->next;
  if (it->next) it->next->at = it->at;
  free(it);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *in) {
  connection *it = (connection *)stream;
  if (count < 0) {
    uv_close((uv_handle_t *)stream, on_close);
  } else if (mode == MODE_CHATTY) {
    for (it->bytes += (size_t)count; it->bytes >= REQUEST; it->bytes -= REQUEST)
      for (int written = 0; written < PIECES; written++) write_to(stream, piece, sizeof piece - 1);
  } else if (mode == MODE_BROADCAST) {
    for (connection *member = first; member; member = member->next)
      write_to((uv_stream_t *)member, in->base, (size_t)count);
  } else if (count > 0) {
    write_to(stream, in->base, (size_t)count);
  }
}

static void on_connection(uv_stream_t *server, int status) {
  if (status < 0) return;
  connection *it = calloc(1, sizeof *it);
  if (!it) abort();
  uv_tcp_init(uv_default_loop(), &it->handle);
  it->next = first;
  it->at = &first;
  if (first) first->at = &it->next;
  first = it;
  if (uv_accept(server, (uv_stream_t *)it)) {
    uv_close((uv_handle_t *)it, on_close);
    return;
  }
  if (mode != MODE_CHURN) uv_tcp_nodelay(&it->handle, 1);
  uv_read_start((uv_stream_t *)it, give_buffer, on_read);
  if (mode == MODE_BROADCAST) write_to((uv_stream_t *)it, "+", 1);
}

int main(int count, char **arguments) {
  static const char *names[] = {"echo", "churn", "chatty", "broadcast"};
  int found = -1;
  for (int name = 0; count > 1 && name < 4; name++)
    if (!strcmp(arguments[1], names[name])) found = name;
  if (found < 0) {
    fprintf(stderr, "net-libuv: no such mode\n");
    return 1;
  }
  mode = found;
  signal(SIGPIPE, SIG_IGN);
  uv_tcp_t server;
  struct sockaddr_in address;
  int length = sizeof address;
  uv_tcp_init(uv_default_loop(), &server);
  uv_ip4_addr("127.0.0.1", 0, &address);
  if (uv_tcp_bind(&server, (struct sockaddr *)&address, 0) || uv_listen((uv_stream_t *)&server, BACKLOG, on_connection) ||
      uv_tcp_getsockname(&server, (struct sockaddr *)&address, &length))
    return 1;
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
