<?php
require __DIR__ . '/common.php';
$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
$said = $_SESSION['said'] ?? '';
unset($_SESSION['said']);
?><!doctype html><html lang="en"><meta charset="utf-8"><title>cloakroom</title>
<h1>Cloakroom</h1>
<?php if ($said !== '') { ?><p><em><?= text($said) ?></em></p><?php } ?>
<?php if (user() === null) { ?>
<form method="post" action="login.php"><input name="name" placeholder="grace">
  <input name="password" type="password" placeholder="hopper"> <button>Enter</button></form>
<?php } else { ?>
<p>You are <?= text(user()) ?>, and have been here <?= (int) $_SESSION['visits'] ?> times.</p>
<form method="post" action="logout.php"><button>Leave</button></form>
<form method="post" action="upload.php" enctype="multipart/form-data"><input type="file" name="file">
  <input name="note" placeholder="a note"> <button>Keep</button></form>
<ul><?php foreach (array_diff(scandir(files_folder()), ['.', '..']) as $name) { ?>
<li><a href="download.php?name=<?= urlencode($name) ?>"><?= text($name) ?></a></li>
<?php } ?></ul>
<?php }
