// Refresh: a request of our own to an application, for an entry whose lifetime is over and that answered all the same.
//
// It has an exchange and a connection that no client is behind: what the application is shown is what the client's
// request was, as a GET; what it answers goes into the response cache and nowhere else. Owned by its Dispatch, whose
// `exchange` stays null. It leads the fill of its key, and has a record in the journal like every request.
#pragma once

#include "src/server/connection.h"
#include "src/server/exchange.h"

#include <string>

namespace penstock {

struct Refresh {
  Connection connection;
  std::string head_text;
  Exchange exchange;
};

}  // namespace penstock
