#include "workload/processes/server_process.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <sstream>
#include <thread>

#include "core/unique_fd.h"

namespace kvferry {
namespace {

constexpr std::chrono::seconds kPatience{20};

/// Where PATH finds it; empty if it does not.
std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream directories(path == nullptr ? "/usr/bin" : path);
  for (std::string directory; std::getline(directories, directory, ':');) {
    directory.append("/").append(name);
    if (::access(directory.c_str(), X_OK) == 0) return directory;
  }
  return "";
}

/// The words for a process that ends with this one.
std::vector<std::string> bound_to_us(std::vector<std::string> command) {
  const std::string setpriv = find_program("setpriv");
  if (!setpriv.empty()) command.insert(command.begin(), {setpriv, "--pdeathsig", "KILL"});
  return command;
}

bool is_listening(const std::string& socket_path) {
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
}

}  // namespace

int free_port() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return 0;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

std::unique_ptr<RedisServer> RedisServer::start(std::vector<std::string> options) {
  if (find_program("redis-server").empty()) return nullptr;
  std::unique_ptr<RedisServer> server(new RedisServer(std::move(options)));
  for (int attempt = 0; attempt < 5; ++attempt) {  // another process may take the port first
    server->port_ = free_port();
    if (server->run()) return server;
  }
  return nullptr;
}

RedisServer::~RedisServer() = default;

bool RedisServer::run() {
  std::vector<std::string> command = {find_program("redis-server"),
                                      "--port",
                                      std::to_string(port_),
                                      "--bind",
                                      "127.0.0.1",
                                      "--unixsocket",
                                      socket_path(),
                                      "--save",
                                      "",
                                      "--appendonly",
                                      "no",
                                      "--dir",
                                      directory_.path(),
                                      "--logfile",
                                      directory_.file("redis.log")};
  command.insert(command.end(), options_.begin(), options_.end());
  process_ = std::make_unique<Subprocess>(bound_to_us(std::move(command)));
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (process_->wait(std::chrono::seconds(0)) < 0) {
    if (is_listening(socket_path())) return true;
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

void RedisServer::kill() { process_.reset(); }

bool RedisServer::restart() {
  kill();
  ::unlink(socket_path().c_str());
  return run();
}

void RedisServer::pause() { ::kill(process_->pid(), SIGSTOP); }

void RedisServer::resume() { ::kill(process_->pid(), SIGCONT); }

std::string RedisServer::command(const std::vector<std::string>& words) const {
  std::vector<std::string> line = {find_program("redis-cli"), "-s", socket_path()};
  line.insert(line.end(), words.begin(), words.end());
  Subprocess client(line);
  client.wait(std::chrono::seconds(20));
  std::string answer = client.out();
  if (!answer.empty() && answer.back() == '\n') answer.pop_back();
  return answer;
}

}  // namespace kvferry
