// What a server process and its supervisor tell each other of workers, as the server's control thread sees it: messages
// in become calls of PoolTable, reports of the reactors become messages out.
#pragma once

#include "src/admin/channel.h"
#include "src/base/time.h"
#include "src/server/process.h"

#include <string>
#include <vector>

namespace penstock {

class ServerPools {
 public:
  ServerPools(ServerProcess& process, Channel& channel) : process_(process), channel_(channel) {}

  // A message about workers or pools; false: it is none. Lines for the operator are appended to `notes`.
  [[nodiscard]] bool obey(ChannelMessage& message, std::vector<std::string>& notes);
  // Becomes readable when there is something to tell. REQUIRES: prepared.
  [[nodiscard]] int wake_fd() const;
  // Sends what reactors reported, and once a second what the workers did and how many requests wait.
  void tell(std::vector<std::string>& notes);

 private:
  void tell_load();

  ServerProcess& process_;
  Channel& channel_;
  MonoTime load_next_;
};

}  // namespace penstock
